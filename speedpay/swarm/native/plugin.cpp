#include "plugin.hpp"

#include <algorithm>
#include <chrono>
#include <future>
#include <stdexcept>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/system/error_code.hpp>
#include <boost/variant/get.hpp>

#include <libtorrent/entry.hpp>
#include <libtorrent/error_code.hpp>
#include <libtorrent/aux_/socket_type.hpp>
#include <libtorrent/peer_connection.hpp>
#include <libtorrent/peer_request.hpp>
#include <libtorrent/torrent_handle.hpp>
#include <libtorrent/torrent_peer.hpp>

#include "handshake.hpp"
#include "peer.hpp"

namespace speedpay {

namespace {

// A buffer without a block in it, which has but messages.
constexpr std::uint64_t least_sent = 4 * 1024;

std::array<char, 20> copied(lt::sha1_hash const& hash)
{
	std::array<char, 20> result;
	std::memcpy(result.data(), hash.data(), result.size());
	return result;
}

// The v1 hash where a torrent has one, else the v2 hash cut to 20 bytes: what most peers write into
// the handshake, and the same before and after a magnet link's metadata has come.
InfoHash wire_infohash(lt::info_hash_t const& hashes)
{
	return copied(hashes.has_v1() ? hashes.v1 : hashes.get_best());
}

// What the called side wrote into this connection's handshake, which is the same at both ends: a
// hybrid torrent's two peers upgrade to v2 in it (BEP 52), or one of them knows only one of its
// hashes. libtorrent notes the outcome in torrent_peer::protocol_v2.
InfoHash agreed_infohash(lt::peer_connection& peer, lt::info_hash_t const& hashes)
{
	lt::torrent_peer const* const known = peer.peer_info_struct();
	bool const is_v2 = known && known->protocol_v2 && hashes.has_v2();
	return copied(hashes.get(is_v2 ? lt::protocol_version::V2 : lt::protocol_version::V1));
}

} // namespace

// One connection. libtorrent calls every hook on its network thread. What a peer's bytes can reach is
// in Peer; here is what needs libtorrent.
class PeerPlugin final : public lt::peer_plugin
{
public:
	PeerPlugin(std::shared_ptr<Graft> graft, std::uint32_t torrent, InfoHash const& infohash
		, lt::peer_connection_handle handle)
		: m_graft(std::move(graft)), m_core(m_graft->core), m_infohash(infohash)
		, m_handle(std::move(handle)), m_peer(*m_core, torrent)
	{
		// We were added to a torrent that was running: this connection's handshake is over.
		if (!m_handle.is_connecting() && !m_handle.in_handshake() && !m_handle.is_disconnecting())
		{
			become_known();
			m_peer.interest(m_handle.is_interesting(), m_handle.is_peer_interested());
		}
	}

	~PeerPlugin() override { guarded([&] { forget("the connection was dropped"); }); }

	lt::string_view type() const override { return "speedpay"; }

	// ---- handshakes ----

	bool on_handshake(lt::span<char const> reserved) override
	{
		guarded([&] {
			if (m_graft->is_banned(address())) return shut_out();
			m_peer.reserved_bytes(reserved.data(), reserved.size());
			become_known();
			remember_handshake();
		});
		return true;
	}

	void add_handshake(lt::entry& handshake) override
	{
		guarded([&] {
			if (m_core->closed()) return;
			handshake["m"][m_graft->message_name] = Graft::message_id;
			m_offered = true;
		});
	}

	bool on_extension_handshake(lt::bdecode_node const& handshake) override
	{
		guarded([&] {
			auto const id = message_id_in(handshake, m_graft->message_name);
			// Who was not told of us by our own handshake (it was over when we came) would not know what
			// our messages are, nor have we seen the peer ids that go into their keys.
			if (id && m_offered && m_peer.announced(*id))
				m_core->extended(PeerExtended{m_peer.id(), m_own_id, m_peer_id, m_agreed_infohash});
		});
		return true;
	}

	void on_disconnect(lt::error_code const& reason) override
	{
		guarded([&] {
			if (m_peer.id()) set_class(no_class);
			forget(reason ? reason.message() : std::string("closed"));
		});
	}

	// Two finished peers have nothing more to trade but the last payment.
	bool can_disconnect(lt::error_code const& reason) override
	{
		bool redundant = false;
		guarded([&] {
			redundant = m_peer.extended() && !m_core->closed()
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
		guarded([&] { m_peer.fragment(length, body.data(), body.size()); });
		return true;
	}

	void send_message(std::string const& payload)
	{
		auto const frame = m_peer.framed(payload);
		if (!frame) return;
		m_handle.send_buffer(frame->data(), static_cast<int>(frame->size()));
		go_ahead();
	}

	// ---- what we ask for and receive ----

	void sent_request(lt::peer_request const& request) override
	{ guarded([&] { m_peer.asked(span(request)); }); }

	void sent_cancel(lt::peer_request const& request) override
	{ guarded([&] { m_peer.cancelled(span(request)); }); }

	// Also called for every dropped request when a peer without the FAST extension chokes us, and
	// before sent_cancel when such a peer is sent a cancel: it will never answer.
	bool on_reject(lt::peer_request const& request) override
	{
		guarded([&] { m_peer.rejected(span(request)); });
		return false;
	}

	// libtorrent drops the connection before this when a block is not exactly one of the torrent's.
	bool on_piece(lt::peer_request const& block, lt::span<char const>) override
	{
		guarded([&] { m_peer.received(span(block)); });
		return false;
	}

	// ---- what the peer asks for and is sent ----

	bool on_request(lt::peer_request const& request) override
	{
		guarded([&] { m_peer.wanted(span(request)); });
		return false;
	}

	void sent_reject_request(lt::peer_request const& request) override
	{ guarded([&] { m_peer.refused(span(request)); }); }

	bool on_cancel(lt::peer_request const& request) override
	{
		guarded([&] { m_peer.not_wanted(span(request)); });
		return false;
	}

	void sent_choke() override { guarded([&] { m_peer.choked(); }); }

	void sent_piece(lt::peer_request const& block) override
	{ guarded([&] { m_peer.queued(span(block)); }); }

	void sent_payload(int const bytes) override
	{
		guarded([&] {
			m_peer.left(bytes);
			if (is_spent() && !m_spent) update_class();
		});
	}

	// ---- interest ----

	void sent_interested() override { guarded([&] { m_peer.local_interest(true); }); }
	void sent_not_interested() override { guarded([&] { m_peer.local_interest(false); }); }
	bool on_interested() override
	{
		guarded([&] { m_peer.remote_interest(true); });
		return false;
	}
	bool on_not_interested() override
	{
		guarded([&] { m_peer.remote_interest(false); });
		return false;
	}

	// ---- the share of the upload ----

	void set_weight(std::uint8_t weight)
	{
		m_weight = weight;
		update_class();
		// Where slots are free the peer has one now, and not after the choker's next round.
		if (m_peer.remote_interest() && m_peer.id() && m_handle.is_choked())
			m_handle.maybe_unchoke_this_peer();
	}

	void withhold(bool on)
	{
		m_withheld = on;
		update_class();
	}

	// Python sees what left some milliseconds later, in which a fast line carries many windows.
	void allow(std::uint64_t payload)
	{
		m_allowed = payload;
		if (is_spent() != m_spent) update_class();
	}

	// libtorrent leaves a fifth of the slots to the optimistic unchoke, and to chance whom of the best
	// it takes them from: a payer had none for 30 s. So payers need none.
	void serve(bool on)
	{
		auto const peer = m_handle.native_handle();
		if (!peer || !m_graft->session || on == m_served) return;
		// What has no slot is not counted, so the choke belongs to the old rule and the unchoke to the new.
		m_handle.choke_this_peer();
		auto const served = m_graft->weights.served();
		m_graft->weights.move(*m_graft->session, *peer, on ? no_class : served, on ? served : no_class);
		m_served = on;
		if (m_peer.remote_interest()) m_handle.maybe_unchoke_this_peer();
	}

	lt::address address() const { return m_handle.remote().address(); }

	void shut_out()
	{ m_handle.disconnect(lt::errors::banned_by_ip_filter, lt::operation_t::bittorrent); }

	void let_go()
	{
		m_allowed = any_payload;
		set_class(no_class);
		serve(false);
	}

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
		if (m_withheld || m_spent || m_ahead != 0) return;
		auto const peer = m_handle.native_handle();
		if (!peer || !m_graft->session) return;
		if (std::uint64_t(peer->send_buffer_size()) > std::max(m_peer.payload_sent(), least_sent)) return;
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

	static Span span(lt::peer_request const& request)
	{ return Span{static_cast<int>(request.piece), request.start, request.length}; }

	void become_known()
	{
		auto const& remote = m_handle.remote();
		if (!m_peer.connected(m_infohash, remote.address().to_string(), remote.port()
			, m_handle.is_outgoing()))
			return;
		m_graft->joined(m_peer.id(), *this);
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

	// Both BitTorrent handshakes are over, and the one of BEP 10 is next.
	void remember_handshake()
	{
		auto const peer = m_handle.native_handle();
		if (!peer) return;
		m_own_id = copied(peer->our_pid());
		m_peer_id = copied(peer->pid());
		m_agreed_infohash = agreed_infohash(*peer, m_handle.associated_torrent().info_hashes());
	}

	void forget(std::string reason)
	{
		// Before anything that can throw: Graft must not keep the address of a plugin that is gone.
		if (m_peer.id()) m_graft->left(m_peer.id());
		m_peer.gone(std::move(reason));
	}

	void update_class()
	{
		m_spent = is_spent();
		if (m_withheld || m_spent) set_class(m_graft->weights.withheld());
		else set_class(m_weight ? m_graft->weights.weighted(m_weight) : no_class);
	}

	bool is_spent() const { return m_peer.payload_told() >= m_allowed; }

	void set_class(lt::peer_class_t wanted)
	{
		auto const peer = m_handle.native_handle();
		if (!peer || !m_graft->session) return;
		m_graft->weights.move(*m_graft->session, *peer, m_class, wanted);
		m_class = wanted;
	}

	std::shared_ptr<Graft> const m_graft;
	std::shared_ptr<Core> const m_core;
	InfoHash const m_infohash;
	lt::peer_connection_handle m_handle;
	Peer m_peer;

	bool m_offered = false;
	PeerId m_own_id{};
	PeerId m_peer_id{};
	InfoHash m_agreed_infohash{};
	std::uint8_t m_weight = 0;
	bool m_withheld = false;
	bool m_served = false;
	bool m_spent = false;
	std::uint64_t m_allowed = any_payload;
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
			// libtorrent never lets a plugin go: of a closed one nothing is left on new connections, so that
			// another one that joins the same session later is the only one that hears our messages.
			if (m_graft->core->closed() || handle.type() != lt::connection_type::bittorrent) return {};
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
		if (core->closed()) return {};
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
		// Armed first: whatever goes wrong below, the next tick comes.
		if (!m_timer) m_timer = std::make_unique<Timer>(session->get_context());
		m_timer->expires_after(m_tick_interval);
		m_timer->async_wait([weak = weak_from_this()](boost::system::error_code const& error) {
			auto const self = weak.lock();
			if (self && !error) self->tick();
		});
		for (auto const& [id, peer] : m_peers) peer->pay_back();
		weights.hand_out_soon(*session);
	}
	catch (...) { core->lost_count(); }
}

void Graft::joined(ConnectionId id, PeerPlugin& peer) { m_peers[id] = &peer; }
void Graft::left(ConnectionId id) { m_peers.erase(id); }

bool Graft::is_banned(lt::address const& address) const
{ return std::find(m_banned.begin(), m_banned.end(), address) != m_banned.end(); }

void Graft::ban(lt::address const& address)
{
	if (is_banned(address)) return;
	m_banned.push_back(address);
	if (m_banned.size() > 4096) m_banned.pop_front();
	std::vector<PeerPlugin*> there;  // each leaves m_peers when it is shut out
	for (auto const& [id, peer] : m_peers)
		if (peer->address() == address) there.push_back(peer);
	for (PeerPlugin* const peer : there) peer->shut_out();
}

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
			else if (auto const* serve = std::get_if<Serve>(&command))
			{
				if (PeerPlugin* const peer = find(serve->connection)) peer->serve(serve->on);
			}
			else if (auto const* allowed = std::get_if<Allow>(&command))
			{
				if (PeerPlugin* const peer = find(allowed->connection)) peer->allow(allowed->payload);
			}
			else if (auto const* banned = std::get_if<Ban>(&command))
			{
				if (PeerPlugin* const peer = find(banned->connection)) ban(peer->address());
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
