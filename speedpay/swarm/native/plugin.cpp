#include "plugin.hpp"

#include <algorithm>
#include <chrono>
#include <deque>
#include <future>
#include <stdexcept>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/system/error_code.hpp>
#include <boost/variant/get.hpp>

#include <libtorrent/bdecode.hpp>
#include <libtorrent/entry.hpp>
#include <libtorrent/error_code.hpp>
#include <libtorrent/aux_/socket_type.hpp>
#include <libtorrent/peer_connection.hpp>
#include <libtorrent/peer_request.hpp>
#include <libtorrent/torrent_handle.hpp>

#include "requests.hpp"

namespace speedpay {

namespace {

// BEP 10's message number, and BEP 6's bit in the last of the handshake's reserved bytes.
constexpr char extended_message = 20;
constexpr unsigned char fast_bit = 0x04;

// libtorrent divides pieces into blocks of this size, in requests of either side.
constexpr int block_bytes = 16 * 1024;

// A buffer without a block in it, which has but messages.
constexpr std::uint64_t least_sent = 4 * 1024;

// The v1 hash where a torrent has one, else the v2 hash cut to 20 bytes: what most peers write into
// the handshake, and the same before and after a magnet link's metadata has come.
InfoHash wire_infohash(lt::info_hash_t const& hashes)
{
	InfoHash result{};
	lt::sha1_hash const hash = hashes.has_v1() ? hashes.v1 : hashes.get_best();
	std::memcpy(result.data(), hash.data(), result.size());
	return result;
}

} // namespace

// One connection. libtorrent calls every hook on its network thread.
//
// Of an outgoing request libtorrent first writes the bytes and then calls sent_request, of an
// outgoing block first the bytes and then sent_piece; in between nothing else is written, since our
// own messages are written from handlers of the same thread. on_piece comes once per whole block,
// on_request once per request, in the order of the peer's stream. So both sides count the same
// messages ahead of the same request.
class PeerPlugin final : public lt::peer_plugin
{
public:
	PeerPlugin(std::shared_ptr<Graft> graft, std::uint32_t torrent, InfoHash const& infohash
		, lt::peer_connection_handle handle)
		: m_graft(std::move(graft)), m_core(m_graft->core), m_torrent(torrent)
		, m_infohash(infohash), m_handle(std::move(handle))
	{
		// We were added to a torrent that was running: this connection's handshake is over.
		if (!m_handle.is_connecting() && !m_handle.in_handshake() && !m_handle.is_disconnecting())
		{
			become_known();
			set_interest(m_handle.is_interesting(), m_handle.is_peer_interested());
		}
	}

	~PeerPlugin() override { guarded([&] { forget("the connection was dropped"); }); }

	lt::string_view type() const override { return "speedpay"; }

	// ---- handshakes ----

	bool on_handshake(lt::span<char const> reserved) override
	{
		guarded([&] {
			m_fast = reserved.size() == 8 && (static_cast<unsigned char>(reserved[7]) & fast_bit);
			become_known();
		});
		return true;
	}

	void add_handshake(lt::entry& handshake) override
	{
		guarded([&] {
			if (m_core->closed()) return;
			handshake["m"][m_graft->message_name] = Graft::message_id;
		});
	}

	bool on_extension_handshake(lt::bdecode_node const& handshake) override
	{
		guarded([&] {
			auto const names = handshake.dict_find_dict("m");
			if (!names) return;
			auto const id = names.dict_find_int(m_graft->message_name);
			// A later handshake that leaves us out changes nothing; zero disables (BEP 10).
			if (!id || id.int_value() < 0 || id.int_value() > 255) return;
			m_their_message_id = static_cast<std::uint8_t>(id.int_value());
			if (m_their_message_id == 0 || m_extended || !m_id) return;
			m_extended = true;
			m_core->extended(m_id);
		});
		return true;
	}

	void on_disconnect(lt::error_code const& reason) override
	{
		guarded([&] {
			if (m_id) set_class(no_class);
			forget(reason ? reason.message() : std::string("closed"));
		});
	}

	// Two finished peers have nothing more to trade but the last payment.
	bool can_disconnect(lt::error_code const& reason) override
	{
		bool redundant = false;
		guarded([&] {
			redundant = m_extended && m_their_message_id != 0 && !m_core->closed()
				&& (reason == lt::errors::upload_upload_connection
					|| reason == lt::errors::uninteresting_upload_peer
					|| reason == lt::errors::torrent_finished);
		});
		return !redundant;
	}

	// ---- our messages ----

	// Called for every fragment; `body` is what has come so far of `length` bytes.
	bool on_extended(int length, int id, lt::span<char const> body) override
	{
		if (id != Graft::message_id) return false;
		guarded([&] {
			if (!m_id) return;
			if (length < 0 || std::size_t(length) > max_message_bytes)
			{
				m_core->flooded(m_id);
				return;
			}
			if (body.size() < length) return;
			if (m_core->message(m_id, m_messages_received + 1, body.data(), std::size_t(length)))
				++m_messages_received;
		});
		return true;
	}

	void send_message(std::string const& payload)
	{
		if (!m_extended || m_their_message_id == 0 || payload.size() > max_message_bytes) return;
		auto const size = static_cast<std::uint32_t>(payload.size() + 2);
		std::string frame;
		frame.reserve(payload.size() + 6);
		for (int shift = 24; shift >= 0; shift -= 8)
			frame.push_back(static_cast<char>((size >> shift) & 0xff));
		frame.push_back(extended_message);
		frame.push_back(static_cast<char>(m_their_message_id));
		frame += payload;
		m_handle.send_buffer(frame.data(), static_cast<int>(frame.size()));
		++m_messages_sent;
		go_ahead();
	}

	// ---- what we ask for and receive ----

	void sent_request(lt::peer_request const& request) override
	{
		guarded([&] {
			for_each_block(request, [&](Block block) { m_asked.add(block, m_messages_sent); });
		});
	}

	void sent_cancel(lt::peer_request const& request) override
	{
		guarded([&] { for_each_block(request, [&](Block block) { m_asked.cancel(block); }); });
	}

	// Also called for every dropped request when a peer without the FAST extension chokes us, and
	// before sent_cancel when such a peer is sent a cancel: it will never answer.
	bool on_reject(lt::peer_request const& request) override
	{
		guarded([&] { for_each_block(request, [&](Block block) { m_asked.take(block); }); });
		return false;
	}

	// libtorrent drops the connection before this when a block is not exactly one of the torrent's.
	bool on_piece(lt::peer_request const& block, lt::span<char const>) override
	{
		guarded([&] {
			if (!m_id || block.length <= 0) return;  // an empty block is BitComet's reject
			auto const request = m_asked.take(Block{static_cast<int>(block.piece), block.start});
			m_core->block_received(m_torrent, BlocksReceived{m_id, static_cast<int>(block.piece)
				, block.start, block.length
				, request ? request->messages_before : m_messages_sent, m_messages_received
				, request && !request->cancelled});
		});
		return false;
	}

	// ---- what the peer asks for and is sent ----

	bool on_request(lt::peer_request const& request) override
	{
		guarded([&] { m_wanted.add(key(request), m_messages_received); });
		return false;
	}

	void sent_reject_request(lt::peer_request const& request) override
	{
		guarded([&] { m_wanted.take(key(request)); });
	}

	// Without the FAST extension a cancel or a choke drops requests in silence.
	bool on_cancel(lt::peer_request const& request) override
	{
		guarded([&] { if (!m_fast) m_wanted.take(key(request)); });
		return false;
	}

	void sent_choke() override
	{
		guarded([&] { if (!m_fast) m_wanted.clear(); });
	}

	void sent_piece(lt::peer_request const& block) override
	{
		guarded([&] {
			if (!m_id) return;
			auto const request = m_wanted.take(key(block));
			m_enqueued.push_back(BlocksSent{m_id, std::uint64_t(block.length)
				, request ? request->messages_before : m_messages_received, m_messages_sent});
		});
	}

	// Blocks in the send buffer may still be withheld: they are reported as their bytes leave, with
	// the counters of the moment when they took their place in the stream.
	void sent_payload(int const bytes) override
	{
		guarded([&] {
			std::uint64_t left = bytes > 0 ? std::uint64_t(bytes) : 0;
			m_payload_sent += left;
			while (left > 0 && !m_enqueued.empty())
			{
				BlocksSent& oldest = m_enqueued.front();
				BlocksSent part = oldest;
				part.byte_count = std::min(left, oldest.byte_count);
				m_core->block_sent(part);
				left -= part.byte_count;
				oldest.byte_count -= part.byte_count;
				if (oldest.byte_count == 0) m_enqueued.pop_front();
			}
		});
	}

	// ---- interest ----

	void sent_interested() override { guarded([&] { set_interest(true, m_remote_interest); }); }
	void sent_not_interested() override { guarded([&] { set_interest(false, m_remote_interest); }); }
	bool on_interested() override
	{
		guarded([&] { set_interest(m_local_interest, true); });
		return false;
	}
	bool on_not_interested() override
	{
		guarded([&] { set_interest(m_local_interest, false); });
		return false;
	}

	// ---- the share of the upload ----

	void set_weight(std::uint8_t weight)
	{
		m_weight = weight;
		update_class();
		// Where slots are free the peer has one now, and not after the choker's next round.
		if (m_remote_interest && m_id && m_handle.is_choked()) m_handle.maybe_unchoke_this_peer();
	}

	void withhold(bool on)
	{
		m_withheld = on;
		update_class();
	}

	void let_go() { set_class(no_class); }

	// Called at every tick: what was sent ahead of the peer's share is taken from its next requests.
	void pay_back()
	{
		if (m_ahead == 0) return;
		auto const peer = m_handle.native_handle();
		if (!peer || !m_graft->session) return;
		if (Weights::pay_back(*m_graft->session, *peer, m_ahead)) m_ahead = 0;
	}

private:
	// Our message waits for blocks that libtorrent has put before it; let all of it leave now. The
	// peer's share stays what it was, and who asks us many questions gets nothing by it: while one
	// advance is owed there is no other, and none is more than what was sent before, or who comes
	// back again and again would live on advances that nobody pays back.
	void go_ahead()
	{
		if (m_withheld || m_ahead != 0) return;
		auto const peer = m_handle.native_handle();
		if (!peer || !m_graft->session) return;
		if (std::uint64_t(peer->send_buffer_size()) > std::max(m_payload_sent, least_sent)) return;
		m_ahead = Weights::advance(*m_graft->session, *peer);
		pay_back();
	}

	// An exception that left a hook would end the process.
	template <typename Body>
	void guarded(Body&& body) const noexcept
	{
		try { body(); }
		catch (...) { m_core->lost_count(); }
	}

	static Block key(lt::peer_request const& request)
	{ return Block{static_cast<int>(request.piece), request.start}; }

	// libtorrent may merge our requests for neighbouring blocks into one.
	template <typename Each>
	static void for_each_block(lt::peer_request const& request, Each&& each)
	{
		for (int done = 0; done < request.length; done += block_bytes)
			each(Block{static_cast<int>(request.piece), request.start + done});
	}

	void become_known()
	{
		if (m_id || m_gone) return;
		auto const& remote = m_handle.remote();
		m_id = m_core->connected(m_infohash, remote.address().to_string(), remote.port()
			, m_handle.is_outgoing());
		m_graft->joined(m_id, *this);
		send_at_once();
	}

	// libtorrent leaves Nagle's algorithm (RFC 896) on: a voucher or a request then waits for the
	// acknowledgement of the small segment before it, which the other end delays by 40 ms and more.
	void send_at_once()
	{
		auto const peer = m_handle.native_handle();
		if (!peer) return;
		auto* const socket = boost::get<lt::tcp::socket>(&peer->get_socket());
		lt::error_code ignored;  // a socket that is closing, or not TCP: nothing to speed up
		if (socket) socket->set_option(boost::asio::ip::tcp::no_delay(true), ignored);
	}

	void forget(std::string reason)
	{
		if (m_gone) return;
		m_gone = true;
		if (!m_id) return;
		m_graft->left(m_id);
		m_core->gone(std::exchange(m_id, 0), std::move(reason));
	}

	void set_interest(bool local, bool remote)
	{
		if (local == m_local_interest && remote == m_remote_interest) return;
		m_local_interest = local;
		m_remote_interest = remote;
		if (m_id) m_core->interest(m_id, local, remote);
	}

	void update_class()
	{
		if (m_withheld) set_class(m_graft->weights.withheld());
		else set_class(m_weight ? m_graft->weights.weighted(m_weight) : no_class);
	}

	void set_class(lt::peer_class_t wanted)
	{
		auto const peer = m_handle.native_handle();
		if (!peer || !m_graft->session) return;
		m_graft->weights.move(*m_graft->session, *peer, m_class, wanted);
		m_class = wanted;
	}

	std::shared_ptr<Graft> const m_graft;
	std::shared_ptr<Core> const m_core;
	std::uint32_t const m_torrent;
	InfoHash const m_infohash;
	lt::peer_connection_handle m_handle;

	ConnectionId m_id = 0;  // from the end of the handshake until the end of the connection
	bool m_gone = false;
	bool m_fast = true;
	bool m_extended = false;
	std::uint8_t m_their_message_id = 0;
	std::uint64_t m_messages_sent = 0;
	std::uint64_t m_messages_received = 0;
	RequestLog m_asked;
	RequestLog m_wanted;
	std::deque<BlocksSent> m_enqueued;  // as long as libtorrent's send buffer, in blocks
	bool m_local_interest = false;
	bool m_remote_interest = false;
	std::uint8_t m_weight = 0;
	bool m_withheld = false;
	std::uint64_t m_payload_sent = 0;
	int m_ahead = 0;  // bytes that left before their turn and are not yet asked back
	lt::peer_class_t m_class = no_class;
};

namespace {

class TorrentPlugin final : public lt::torrent_plugin
{
public:
	TorrentPlugin(std::shared_ptr<Graft> graft, std::uint32_t number, InfoHash const& infohash)
		: m_graft(std::move(graft)), m_number(number), m_infohash(infohash) {}

	std::shared_ptr<lt::peer_plugin> new_connection(lt::peer_connection_handle const& handle) override
	{
		try
		{
			if (handle.type() != lt::connection_type::bittorrent) return {};
			auto const peer = handle.native_handle();
			// The session's layout was checked; one peer that does not fit is left an ordinary peer.
			if (!peer || !Weights::layout_holds(handle, *peer)) return {};
			return std::make_shared<PeerPlugin>(m_graft, m_number, m_infohash, handle);
		}
		catch (...)
		{
			m_graft->core->lost_count();
			return {};
		}
	}

	void on_piece_pass(lt::piece_index_t piece) override { verdict(piece, true); }
	void on_piece_failed(lt::piece_index_t piece) override { verdict(piece, false); }

private:
	void verdict(lt::piece_index_t piece, bool passed) const noexcept
	{
		try { m_graft->core->verdict(m_number, m_infohash, static_cast<int>(piece), passed); }
		catch (...) { m_graft->core->lost_count(); }
	}

	std::shared_ptr<Graft> const m_graft;
	std::uint32_t const m_number;
	InfoHash const m_infohash;
};

} // namespace

void Graft::graft(lt::session_handle handle)
{
	weights.create(handle);

	auto const implementation = handle.native_handle();
	if (!implementation) throw std::runtime_error("the session is closed");
	lt::aux::session_interface& running = *implementation;
	int const tick_interval = handle.get_settings().get_int(lt::settings_pack::tick_interval);

	auto const checked = std::make_shared<std::promise<bool>>();
	auto answer = checked->get_future();
	boost::asio::post(running.get_context(), [self = shared_from_this(), checked, &running, tick_interval] {
		try { checked->set_value(self->weights.layout_holds(running, tick_interval)); }
		catch (...) { checked->set_exception(std::current_exception()); }
	});
	if (answer.wait_for(std::chrono::seconds(10)) != std::future_status::ready)
		throw std::runtime_error("the session does not answer");
	if (!answer.get())
		throw std::runtime_error("the running libtorrent lays its classes out differently from the "
			"headers this extension was built with");

	session = &running;
	auto& context = running.get_context();
	core->attach([&context, weak = weak_from_this()] {
		boost::asio::post(context, [weak] {
			if (auto const self = weak.lock()) self->carry_out_commands();
		});
	});

	boost::asio::post(context, [self = shared_from_this(), tick_interval] {
		self->m_tick_interval = std::chrono::milliseconds(tick_interval);
		self->tick();
	});

	handle.add_extension(std::static_pointer_cast<lt::plugin>(shared_from_this()));
	// Torrents that were there before are asked one by one.
	for (auto& torrent : handle.get_torrents())
		torrent.add_extension([self = shared_from_this()](lt::torrent_handle const& t, lt::client_data_t data)
			{ return self->new_torrent(t, data); });
}

std::shared_ptr<lt::torrent_plugin> Graft::new_torrent(lt::torrent_handle const& torrent, lt::client_data_t)
{
	try
	{
		return std::make_shared<TorrentPlugin>(shared_from_this(), ++m_torrents
			, wire_infohash(torrent.info_hashes()));
	}
	catch (...)
	{
		core->lost_count();
		return {};
	}
}

void Graft::abort()
{
	try { core->detach(); }
	catch (...) { core->lost_count(); }
	// Before the context ends, which the timer belongs to.
	m_timer.reset();
	session = nullptr;
}

// As often as libtorrent's own tick, which plugins see once a second only.
void Graft::tick() noexcept
{
	try
	{
		if (!session || core->closed())
		{
			m_timer.reset();
			return;
		}
		for (auto const& [id, peer] : m_peers) peer->pay_back();
		weights.hand_out_soon(*session);
		if (!m_timer) m_timer = std::make_unique<Timer>(session->get_context());
		m_timer->expires_after(m_tick_interval);
		m_timer->async_wait([weak = weak_from_this()](boost::system::error_code const& error) {
			auto const self = weak.lock();
			if (self && !error) self->tick();
		});
	}
	catch (...) { core->lost_count(); }
}

void Graft::joined(ConnectionId id, PeerPlugin& peer) { m_peers[id] = &peer; }
void Graft::left(ConnectionId id) { m_peers.erase(id); }

PeerPlugin* Graft::find(ConnectionId id) const
{
	auto const found = m_peers.find(id);
	return found == m_peers.end() ? nullptr : found->second;
}

void Graft::carry_out_commands()
{
	try
	{
		for (Command const& command : core->take_commands())
		{
			if (auto const* send = std::get_if<SendMessage>(&command))
			{
				if (PeerPlugin* const peer = find(send->connection)) peer->send_message(send->payload);
			}
			else if (auto const* weight = std::get_if<SetWeight>(&command))
			{
				if (PeerPlugin* const peer = find(weight->connection)) peer->set_weight(weight->weight);
			}
			else if (auto const* hold = std::get_if<Withhold>(&command))
			{
				if (PeerPlugin* const peer = find(hold->connection)) peer->withhold(hold->on);
			}
			else
			{
				for (auto const& [id, peer] : m_peers) peer->let_go();
			}
		}
	}
	catch (...) { core->lost_count(); }
}

} // namespace speedpay
