// The libtorrent plugin: one for the session, one per torrent, one per connection.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>

#include <boost/asio/steady_timer.hpp>

#include <libtorrent/address.hpp>
#include <libtorrent/extensions.hpp>
#include <libtorrent/session_handle.hpp>

#include "core.hpp"
#include "weights.hpp"

namespace speedpay {

class PeerPlugin;

// The session's plugin. Network thread only, but for graft().
class Graft final : public lt::plugin, public std::enable_shared_from_this<Graft>
{
public:
	// The id under which a peer sends us our message. libtorrent's own are below 32.
	static constexpr int message_id = 41;

	Graft(std::shared_ptr<Core> core, std::string message_name)
		: core(std::move(core)), message_name(std::move(message_name)) {}

	// Adds us to a running session and to the torrents it has. Connections that are already up get
	// our entry in the BEP 10 handshake when they are made anew. Called on Python's thread without
	// the interpreter lock; throws std::runtime_error when libtorrent's layout is not the one we
	// were compiled for.
	void graft(lt::session_handle session);

	std::shared_ptr<lt::torrent_plugin> new_torrent(lt::torrent_handle const&, lt::client_data_t) override;
	void abort() override;

	void joined(ConnectionId id, PeerPlugin& peer);
	void left(ConnectionId id);
	bool is_banned(lt::address const& address) const;

	std::shared_ptr<Core> const core;
	std::string const message_name;
	Weights weights;
	lt::aux::session_interface* session = nullptr;

private:
	using Timer = boost::asio::steady_timer;

	void carry_out_commands();
	void ban(lt::address const& address);
	void tick() noexcept;
	PeerPlugin* find(ConnectionId id) const;

	std::unordered_map<ConnectionId, PeerPlugin*> m_peers;
	std::deque<lt::address> m_banned;
	std::uint32_t m_torrents = 0;
	std::chrono::milliseconds m_tick_interval{0};
	std::unique_ptr<Timer> m_timer;
};

} // namespace speedpay
