// What libtorrent's network thread and Python's thread share: the events that wait for Python, and
// the commands that wait for the network thread. One mutex guards everything.
//
// No libtorrent and no Python types: a race detector can run on this file alone, and the network
// thread can never come to wait for the interpreter lock.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <mutex>
#include <string>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include <sys/eventfd.h>
#include <unistd.h>

namespace speedpay {

using ConnectionId = std::uint64_t;
using InfoHash = std::array<char, 20>;
using PeerId = std::array<char, 20>;

// A message of ours is at most this long, in both directions.
constexpr std::size_t max_message_bytes = 4096;

// Undrained bytes of messages that one connection may pile up. Python drains many times a second, and
// an honest peer's longest burst, 400 sealed vouchers of 208 bytes, fits; beyond this a peer is filling
// our memory.
constexpr std::size_t max_undrained_bytes = 128 * 1024;

// What a queued message costs beside its payload, so that empty ones are bounded as well.
constexpr std::size_t message_overhead_bytes = 64;

// Events of one connection to which a further block may still be added. More only merge less.
constexpr std::size_t max_open_events = 16;

struct PeerConnected
{ ConnectionId connection; InfoHash infohash; std::string address; int port; bool outgoing; };
struct PeerExtended { ConnectionId connection; PeerId own_id; PeerId peer_id; InfoHash infohash; };
struct PeerGone { ConnectionId connection; std::string reason; };
struct InterestChanged { ConnectionId connection; bool local; bool remote; };
struct Message { ConnectionId connection; std::uint64_t sequence; std::string payload; };
struct Flooded { ConnectionId connection; };
struct BlocksReceived
{
	ConnectionId connection;
	std::int32_t piece;
	std::int32_t start;
	std::int32_t length;
	std::uint64_t asked_after;
	std::uint64_t message_sequence;
	bool asked;
};
struct BlocksSent
{
	ConnectionId connection;
	std::uint64_t byte_count;
	std::uint64_t asked_after;
	std::uint64_t message_sequence;
};
struct PiecePassed { InfoHash infohash; std::int32_t piece; };
struct PieceFailed { InfoHash infohash; std::int32_t piece; };

// The order of the alternatives is the order of the classes in extension.py.
using Event = std::variant<PeerConnected, PeerExtended, PeerGone, InterestChanged, Message, Flooded
	, BlocksReceived, BlocksSent, PiecePassed, PieceFailed>;

struct SendMessage { ConnectionId connection; std::string payload; };
struct SetWeight { ConnectionId connection; std::uint8_t weight; };
struct Withhold { ConnectionId connection; bool on; };
struct Serve { ConnectionId connection; bool on; };
struct Ban { ConnectionId connection; };
struct Allow { ConnectionId connection; std::uint64_t payload; };  // in all, on the connection

constexpr std::uint64_t any_payload = ~std::uint64_t(0);
struct LetGo {};  // the extension is closed: every peer back to its own classes

using Command = std::variant<SendMessage, SetWeight, Withhold, Serve, Ban, Allow, LetGo>;

class Core
{
public:
	Core() : m_fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))
	{
		if (m_fd < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
	}
	~Core() { if (m_fd >= 0) ::close(m_fd); }
	Core(Core const&) = delete;
	Core& operator=(Core const&) = delete;

	// ---- called on the network thread ----

	ConnectionId connected(InfoHash const& infohash, std::string address, int port, bool outgoing)
	{
		Lock lock(m_mutex);
		ConnectionId const id = ++m_last_connection;
		m_connections.emplace(id, Connection{});
		push(PeerConnected{id, infohash, std::move(address), port, outgoing});
		return id;
	}

	void extended(PeerExtended const& peer)
	{
		Lock lock(m_mutex);
		push(peer);
	}

	void gone(ConnectionId id, std::string reason)
	{
		Lock lock(m_mutex);
		m_connections.erase(id);
		push(PeerGone{id, std::move(reason)});
	}

	// Only the newest undrained state is kept, so that a peer that flaps cannot fill the queue.
	void interest(ConnectionId id, bool local, bool remote)
	{
		Lock lock(m_mutex);
		Connection* const connection = find(id);
		if (!connection) return;
		if (connection->interest >= 0)
		{
			m_events[std::size_t(connection->interest)] = InterestChanged{id, local, remote};
			return;
		}
		push(InterestChanged{id, local, remote});
		connection->interest = std::int64_t(m_events.size()) - 1;
	}

	// False when the peer floods: the message is dropped, and so is every later one.
	bool message(ConnectionId id, std::uint64_t sequence, char const* payload, std::size_t size)
	{
		Lock lock(m_mutex);
		Connection* const connection = find(id);
		if (!connection || connection->flooded) return false;
		std::size_t const cost = size + message_overhead_bytes;
		if (connection->undrained_bytes + cost > max_undrained_bytes)
		{
			flood(id, *connection);
			return false;
		}
		connection->undrained_bytes += cost;
		// A block that comes after a message never joins an event that stands before it.
		connection->received.clear();
		connection->sent.clear();
		push(Message{id, sequence, std::string(payload, size)});
		return true;
	}

	void flooded(ConnectionId id)
	{
		Lock lock(m_mutex);
		Connection* const connection = find(id);
		if (connection && !connection->flooded) flood(id, *connection);
	}

	void block_received(std::uint32_t torrent, BlocksReceived const& block)
	{
		Lock lock(m_mutex);
		Connection* const connection = find(block.connection);
		if (!connection) return;
		auto const verdict = m_verdicts.find(piece_key(torrent, block.piece));
		for (std::size_t const index : connection->received)
		{
			auto& open = std::get<BlocksReceived>(m_events[index]);
			if (open.piece != block.piece
				|| open.start + open.length != block.start
				|| open.asked_after != block.asked_after
				|| open.message_sequence != block.message_sequence
				|| open.asked != block.asked
				|| (verdict != m_verdicts.end() && verdict->second > index))
				continue;
			open.length += block.length;
			return;
		}
		// Remembered when it is there: an index whose event found no memory would point behind the end.
		push(block);
		remember(connection->received, m_events.size() - 1);
	}

	void block_sent(BlocksSent const& block)
	{
		Lock lock(m_mutex);
		Connection* const connection = find(block.connection);
		if (!connection) return;
		connection->sent_bytes += block.byte_count;
		for (std::size_t const index : connection->sent)
		{
			auto& open = std::get<BlocksSent>(m_events[index]);
			if (open.asked_after != block.asked_after
				|| open.message_sequence != block.message_sequence)
				continue;
			open.byte_count += block.byte_count;
			return;
		}
		push(block);
		remember(connection->sent, m_events.size() - 1);
	}

	void verdict(std::uint32_t torrent, InfoHash const& infohash, std::int32_t piece, bool passed)
	{
		Lock lock(m_mutex);
		if (m_fd < 0) return;
		m_verdicts[piece_key(torrent, piece)] = m_events.size();
		if (passed) push(PiecePassed{infohash, piece});
		else push(PieceFailed{infohash, piece});
	}

	// An event could not be recorded (out of memory): the counts can no longer be trusted.
	void lost_count() noexcept
	{
		Lock lock(m_mutex);
		m_lost_count = true;
		signal();
	}

	std::vector<Command> take_commands()
	{
		Lock lock(m_mutex);
		return std::exchange(m_commands, {});
	}

	// The network thread is about to end: nothing can be posted to it any more.
	void detach()
	{
		Lock lock(m_mutex);
		m_wake_network = nullptr;
		m_commands.clear();
	}

	bool closed() const
	{
		Lock lock(m_mutex);
		return m_fd < 0;
	}

	// ---- called on Python's thread ----

	// `wake_network` posts one call of take_commands() to the network thread and returns at once.
	void attach(std::function<void()> wake_network)
	{
		Lock lock(m_mutex);
		m_wake_network = std::move(wake_network);
	}

	int fd() const
	{
		Lock lock(m_mutex);
		return m_fd;
	}

	// Everything that waits, in order. `lost_count` says that something before it is missing.
	std::vector<Event> drain(bool& lost_count)
	{
		Lock lock(m_mutex);
		lost_count = m_lost_count;
		if (m_fd >= 0)
		{
			std::uint64_t ignored;
			// Fails only when nothing was signalled.
			[[maybe_unused]] auto const size = ::read(m_fd, &ignored, sizeof(ignored));
		}
		++m_batch;
		m_verdicts.clear();
		return std::exchange(m_events, {});
	}

	void command(ConnectionId id, Command what)
	{
		Lock lock(m_mutex);
		if (m_connections.find(id) == m_connections.end()) return;
		give(std::move(what));
	}

	// So many bytes of payload more than the events that Python has drained speak of: what left since
	// then, and is not known to Python yet, is a part of them.
	void allow(ConnectionId id, std::uint64_t more)
	{
		Lock lock(m_mutex);
		Connection const* const connection = find(id);
		if (!connection) return;
		bool const all = more == any_payload;
		give(Allow{id, all ? any_payload : connection->drained_bytes + more});
	}

	void close()
	{
		Lock lock(m_mutex);
		if (m_fd < 0) return;
		::close(m_fd);
		m_fd = -1;
		m_events.clear();
		give(LetGo{});
	}

private:
	using Lock = std::lock_guard<std::mutex>;

	struct Connection
	{
		// The fields below speak of m_events and are void once that has been drained.
		std::uint64_t batch = 0;
		std::vector<std::size_t> received;  // indices of events that may still grow
		std::vector<std::size_t> sent;
		std::int64_t interest = -1;
		std::size_t undrained_bytes = 0;
		// These are kept: payload that events speak of, in all and of those that were drained.
		std::uint64_t sent_bytes = 0;
		std::uint64_t drained_bytes = 0;

		bool flooded = false;
	};

	static std::uint64_t piece_key(std::uint32_t torrent, std::int32_t piece)
	{ return (std::uint64_t(torrent) << 32) | std::uint32_t(piece); }

	static void remember(std::vector<std::size_t>& open, std::size_t index)
	{
		if (open.size() >= max_open_events) open.erase(open.begin());
		open.push_back(index);
	}

	Connection* find(ConnectionId id)
	{
		if (m_fd < 0) return nullptr;
		auto const found = m_connections.find(id);
		if (found == m_connections.end()) return nullptr;
		Connection& connection = found->second;
		if (connection.batch != m_batch)
		{
			bool const was_flooded = connection.flooded;
			std::uint64_t const sent_bytes = connection.sent_bytes;
			connection = Connection{};
			connection.batch = m_batch;
			connection.flooded = was_flooded;
			connection.sent_bytes = connection.drained_bytes = sent_bytes;
		}
		return &connection;
	}

	void flood(ConnectionId id, Connection& connection)
	{
		connection.flooded = true;
		push(Flooded{id});
	}

	void push(Event event)
	{
		if (m_fd < 0) return;
		bool const was_empty = m_events.empty();
		m_events.push_back(std::move(event));
		if (was_empty) signal();
	}

	void signal() noexcept
	{
		if (m_fd < 0) return;
		std::uint64_t const one = 1;
		// Fails only when the counter is at its limit, and then the descriptor is readable anyway.
		[[maybe_unused]] auto const size = ::write(m_fd, &one, sizeof(one));
	}

	void give(Command what)
	{
		if (!m_wake_network) return;
		bool const was_empty = m_commands.empty();
		m_commands.push_back(std::move(what));
		if (!was_empty) return;
		try { m_wake_network(); }
		catch (...)
		{
			// Left in the outbox, it would never be fetched: nothing posts to a filled one.
			m_commands.pop_back();
			throw;
		}
	}

	mutable std::mutex m_mutex;
	int m_fd;
	std::vector<Event> m_events;
	std::uint64_t m_batch = 1;
	std::unordered_map<std::uint64_t, std::size_t> m_verdicts;  // piece → event that judged it
	std::unordered_map<ConnectionId, Connection> m_connections;
	ConnectionId m_last_connection = 0;
	std::vector<Command> m_commands;
	std::function<void()> m_wake_network;
	bool m_lost_count = false;
};

} // namespace speedpay
