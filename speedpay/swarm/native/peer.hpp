// What one connection announced, said, asked for and was sent: everything between libtorrent's hooks
// and the core that a peer's bytes can reach.
//
// No libtorrent types, so that a fuzzer can drive it; no locks: network thread only.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>

#include "core.hpp"
#include "requests.hpp"

namespace speedpay {

// BEP 10's message number, and BEP 6's bit in the last of the handshake's reserved bytes.
constexpr char extended_message = 20;
constexpr unsigned char fast_bit = 0x04;

// Of an outgoing request libtorrent first writes the bytes and then calls sent_request, of an
// outgoing block first the bytes and then sent_piece; in between nothing else is written, since our
// own messages are written from handlers of the same thread. on_piece comes once per whole block,
// on_request once per request, in the order of the peer's stream. So both sides count the same
// messages ahead of the same request.
class Peer
{
public:
	Peer(Core& core, std::uint32_t torrent) : m_core(core), m_torrent(torrent) {}

	// 0 before the handshake is over, and after the connection has ended.
	ConnectionId id() const { return m_id; }
	bool extended() const { return m_extended && m_their_message_id != 0; }
	bool remote_interest() const { return m_remote_interest; }
	std::uint64_t payload_sent() const { return m_payload_sent; }
	// Of it what events have spoken of.
	std::uint64_t payload_told() const { return m_payload_told; }

	// ---- its beginning and end ----

	// False when that was known, or the connection has ended.
	bool connected(InfoHash const& infohash, std::string address, int port, bool outgoing)
	{
		if (m_id || m_gone) return false;
		m_id = m_core.connected(infohash, std::move(address), port, outgoing);
		return true;
	}

	// The id that it had, 0 when it had none or was gone already.
	ConnectionId gone(std::string reason)
	{
		m_gone = true;
		ConnectionId const id = std::exchange(m_id, 0);
		if (id) m_core.gone(id, std::move(reason));
		return id;
	}

	// ---- handshakes ----

	void reserved_bytes(char const* bytes, std::ptrdiff_t size)
	{ m_fast = size == 8 && (static_cast<unsigned char>(bytes[7]) & fast_bit); }

	// True the first time: the peer takes our messages from now on. A later handshake that leaves us
	// out changes nothing and does not come here; zero disables (BEP 10).
	bool announced(std::int64_t message_id)
	{
		if (message_id < 0 || message_id > 255) return false;
		m_their_message_id = static_cast<std::uint8_t>(message_id);
		if (m_their_message_id == 0 || m_extended || !m_id) return false;
		m_extended = true;
		return true;
	}

	// ---- our messages ----

	// `body` is the `size` bytes that have come so far of `length`.
	void fragment(int length, char const* body, std::ptrdiff_t size)
	{
		if (!m_id) return;
		if (length < 0 || std::size_t(length) > max_message_bytes)
		{
			m_core.flooded(m_id);
			return;
		}
		if (size < length) return;
		if (m_core.message(m_id, m_messages_received + 1, body, std::size_t(length)))
			++m_messages_received;
	}

	// The bytes for the connection, counted as sent; nothing for a peer that does not take ours.
	std::optional<std::string> framed(std::string const& payload)
	{
		if (!extended() || payload.size() > max_message_bytes) return std::nullopt;
		auto const size = static_cast<std::uint32_t>(payload.size() + 2);
		std::string frame;
		frame.reserve(payload.size() + 6);
		for (int shift = 24; shift >= 0; shift -= 8)
			frame.push_back(static_cast<char>((size >> shift) & 0xff));
		frame.push_back(extended_message);
		frame.push_back(static_cast<char>(m_their_message_id));
		frame += payload;
		++m_messages_sent;
		return frame;
	}

	// ---- what we ask for and receive ----

	// libtorrent may merge our requests for neighbouring blocks into one.
	void asked(Span const& blocks)
	{ for_each_block(blocks, [&](Block block) { m_asked.add(block, m_messages_sent); }); }

	void cancelled(Span const& blocks)
	{ for_each_block(blocks, [&](Block block) { m_asked.cancel(block); }); }

	// Straight from the peer: libtorrent looks at the numbers only after its plugins.
	void rejected(Span const& blocks) { m_asked.take_all(blocks); }

	// A whole block, which libtorrent has found to be one of the torrent's.
	void received(Span const& block)
	{
		if (!m_id || block.length <= 0) return;  // an empty block is BitComet's reject
		auto const request = m_asked.take(block.first());
		m_core.block_received(m_torrent, BlocksReceived{m_id, block.piece, block.start, block.length
			, request ? request->messages_before : m_messages_sent, m_messages_received
			, request && !request->cancelled});
	}

	// ---- what the peer asks for and is sent ----

	void wanted(Span const& request) { m_wanted.add(request.first(), m_messages_received); }

	void refused(Span const& request) { m_wanted.take(request.first()); }

	// Without the FAST extension a cancel or a choke drops requests in silence.
	void not_wanted(Span const& request) { if (!m_fast) m_wanted.take(request.first()); }
	void choked() { if (!m_fast) m_wanted.clear(); }

	// The block is in the send buffer, where it may still be withheld: it is reported as its bytes
	// leave, with the counters of the moment when it took its place in the stream.
	void queued(Span const& block)
	{
		if (!m_id) return;
		auto const request = m_wanted.take(block.first());
		m_queued.push_back(BlocksSent{m_id, std::uint64_t(block.length)
			, request ? request->messages_before : m_messages_received, m_messages_sent});
	}

	void left(int bytes)
	{
		std::uint64_t left = bytes > 0 ? std::uint64_t(bytes) : 0;
		m_payload_sent += left;
		while (left > 0 && !m_queued.empty())
		{
			BlocksSent& oldest = m_queued.front();
			BlocksSent part = oldest;
			part.byte_count = std::min(left, oldest.byte_count);
			m_core.block_sent(part);
			m_payload_told += part.byte_count;
			left -= part.byte_count;
			oldest.byte_count -= part.byte_count;
			if (oldest.byte_count == 0) m_queued.pop_front();
		}
	}

	// ---- interest ----

	void local_interest(bool interested) { interest(interested, m_remote_interest); }
	void remote_interest(bool interested) { interest(m_local_interest, interested); }

	void interest(bool local, bool remote)
	{
		if (local == m_local_interest && remote == m_remote_interest) return;
		m_local_interest = local;
		m_remote_interest = remote;
		if (m_id) m_core.interest(m_id, local, remote);
	}

private:
	Core& m_core;
	std::uint32_t const m_torrent;

	ConnectionId m_id = 0;
	bool m_gone = false;
	bool m_fast = true;
	bool m_extended = false;
	std::uint8_t m_their_message_id = 0;
	std::uint64_t m_messages_sent = 0;
	std::uint64_t m_messages_received = 0;
	RequestLog m_asked;
	RequestLog m_wanted;
	std::deque<BlocksSent> m_queued;  // as long as libtorrent's send buffer, in blocks
	bool m_local_interest = false;
	bool m_remote_interest = false;
	std::uint64_t m_payload_sent = 0;
	std::uint64_t m_payload_told = 0;
};

} // namespace speedpay
