// A peer's share of the upload limit, through private members of libtorrent.
//
// THIS FILE HOLDS EVERY TRICK WITH libtorrent's PRIVATE MEMBERS.
//
// libtorrent's bandwidth manager divides a rate limit by the upload priority (1-255) of the peer
// classes a peer belongs to, and its choker sorts by it first. Its public interface assigns classes
// by address and socket type only, when a connection begins. We move live peers between classes, for
// which six private members are needed; naming them in an explicit instantiation is the one place
// where C++ does not check access. It ends when libtorrent renames or retypes one of them (a compile
// error here), and would best be replaced by a public peer_connection_handle::set_peer_class.
// Tried with 2.0.8 to 2.0.11.
//
// Network thread only, but for Weights::create.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <libtorrent/aux_/bandwidth_manager.hpp>
#include <libtorrent/aux_/bandwidth_queue_entry.hpp>
#include <libtorrent/aux_/session_impl.hpp>
#include <libtorrent/aux_/session_interface.hpp>
#include <libtorrent/peer_class.hpp>
#include <libtorrent/peer_class_set.hpp>
#include <libtorrent/peer_connection.hpp>
#include <libtorrent/peer_connection_handle.hpp>
#include <libtorrent/session_handle.hpp>
#include <libtorrent/settings_pack.hpp>

namespace speedpay {

namespace lt = libtorrent;

namespace stolen {

template <typename Tag, typename Tag::pointer Member>
struct Thief { friend constexpr typename Tag::pointer member(Tag) { return Member; } };

struct SetSize
{
	using pointer = std::int8_t lt::peer_class_set::*;
	friend constexpr pointer member(SetSize);
};
template struct Thief<SetSize, &lt::peer_class_set::m_size>;

struct SetClasses
{
	using pointer = lt::aux::array<lt::peer_class_t, 15> lt::peer_class_set::*;
	friend constexpr pointer member(SetClasses);
};
template struct Thief<SetClasses, &lt::peer_class_set::m_class>;

struct PoolClasses
{
	using pointer = lt::aux::deque<lt::peer_class, lt::peer_class_t> lt::peer_class_pool::*;
	friend constexpr pointer member(PoolClasses);
};
template struct Thief<PoolClasses, &lt::peer_class_pool::m_peer_classes>;

struct References
{
	using pointer = int lt::peer_class::*;
	friend constexpr pointer member(References);
};
template struct Thief<References, &lt::peer_class::references>;

struct WaitingForBandwidth
{
	using pointer = std::vector<lt::aux::bw_request> lt::aux::bandwidth_manager::*;
	friend constexpr pointer member(WaitingForBandwidth);
};
template struct Thief<WaitingForBandwidth, &lt::aux::bandwidth_manager::m_queue>;

struct WaitingBytes
{
	using pointer = std::int64_t lt::aux::bandwidth_manager::*;
	friend constexpr pointer member(WaitingBytes);
};
template struct Thief<WaitingBytes, &lt::aux::bandwidth_manager::m_queued_bytes>;

} // namespace stolen

// libtorrent's own class number 0 is the global class, which is never one of ours.
constexpr lt::peer_class_t no_class{0};

// One class per weight and one for withheld peers: moving a peer is one write into an array. The
// classes live as long as the session, because bandwidth requests under way point at them.
class Weights
{
public:
	// Called once, on Python's thread: these are public calls that wait for the network thread.
	void create(lt::session_handle session)
	{
		for (int weight = 1; weight <= 255; ++weight)
		{
			m_weighted[std::size_t(weight)] = session.create_peer_class("speedpay weight");
			lt::peer_class_info settings = session.get_peer_class(m_weighted[std::size_t(weight)]);
			settings.upload_priority = weight;
			session.set_peer_class(m_weighted[std::size_t(weight)], settings);
		}
		m_served = session.create_peer_class("speedpay served");
		lt::peer_class_info beside = session.get_peer_class(m_served);
		beside.ignore_unchoke_slots = true;
		session.set_peer_class(m_served, beside);
		m_withheld = session.create_peer_class(withheld_label);
		lt::peer_class_info settings = session.get_peer_class(m_withheld);
		// Bytes per second; libtorrent raises it to its least, 10, shared by all withheld peers.
		settings.upload_limit = 1;
		// For the choker, which would else choke them first.
		settings.upload_priority = 255;
		session.set_peer_class(m_withheld, settings);
	}

	lt::peer_class_t weighted(std::uint8_t weight) const { return m_weighted[weight]; }
	lt::peer_class_t withheld() const { return m_withheld; }
	lt::peer_class_t served() const { return m_served; }

	// Does libtorrent's memory look the way our headers say? Read through our stolen pointers what
	// create() wrote through exported functions.
	bool layout_holds(lt::aux::session_interface& session, int tick_interval) const
	{
		if (session.settings().get_int(lt::settings_pack::tick_interval) != tick_interval)
			return false;
		auto& classes = session.peer_classes().*member(stolen::PoolClasses{});
		if (m_withheld >= classes.end_index()) return false;
		lt::peer_class const& last = classes[m_withheld];
		return last.label == withheld_label
			&& last.*member(stolen::References{}) == 1
			&& classes[m_weighted[77]].priority[upload] == 77;
	}

	// The same for a connection: an inline accessor against the exported function.
	static bool layout_holds(lt::peer_connection_handle const& handle, lt::peer_connection& peer)
	{
		auto const size = static_cast<lt::peer_class_set&>(peer).*member(stolen::SetSize{});
		return &handle.remote() == &peer.remote() && size >= 0 && size < 15;
	}

	// Takes the peer out of `from` and puts it into `to`; no_class for neither.
	void move(lt::aux::session_interface& session, lt::peer_connection& peer
		, lt::peer_class_t from, lt::peer_class_t to) const
	{
		if (from == to) return;
		auto& pool = session.peer_classes().*member(stolen::PoolClasses{});
		auto& set = static_cast<lt::peer_class_set&>(peer);
		auto& size = set.*member(stolen::SetSize{});
		auto& classes = set.*member(stolen::SetClasses{});

		int at = 0;
		while (at < size && classes[at] != from) ++at;
		bool const was_in = from != no_class && at < size;

		if (was_in && to != no_class) classes[at] = to;
		else if (was_in) classes[at] = classes[--size];
		else if (to != no_class && size < int(classes.size()) - 1) classes[size++] = to;
		else return;

		if (was_in) --(pool[from].*member(stolen::References{}));
		if (to != no_class) ++(pool[to].*member(stolen::References{}));

		int priority = 1;
		for (int i = 0; i < size; ++i)
			if (classes[i] != m_withheld)
				priority = std::max(priority, pool[classes[i]].priority[upload]);
		renew_request(*session.get_bandwidth_manager(upload), peer, priority
			, was_in ? &pool[from].channel[upload] : nullptr
			, to != no_class ? &pool[to].channel[upload] : nullptr);
	}

	// Hands out what has been assigned after three ticks. libtorrent's 20 are 200 ms in which a peer
	// gets nothing and then everything: our messages wait as long, and send buffers must be deeper
	// than that, or a peer whose request is filled misses its share until it asks again.
	void hand_out_soon(lt::aux::session_interface& session) const
	{
		auto& pool = session.peer_classes().*member(stolen::PoolClasses{});
		auto const* const withheld = &pool[m_withheld].channel[upload];
		for (lt::aux::bw_request& request : waiting(session))
		{
			request.ttl = std::min(request.ttl, 3);
			// Who is withheld takes no part in dividing the limit.
			for (auto const* const channel : request.channel)
				if (channel == withheld) request.priority = 1;
		}
	}

	// Lets the peer send at once what waits in its buffer, and returns by how many bytes that is ahead
	// of its share; 0 when nothing there waits for bandwidth.
	static int advance(lt::aux::session_interface& session, lt::peer_connection& peer)
	{
		auto& queue = waiting(session);
		auto const found = find(queue, peer);
		if (found == queue.end()) return 0;
		int const buffered = peer.send_buffer_size();
		// Less than nothing: an earlier advance is still being paid back.
		if (found->assigned < 0 || buffered <= found->assigned) return 0;
		int const ahead = buffered - found->assigned;
		session.get_bandwidth_manager(upload)->*member(stolen::WaitingBytes{})
			-= found->request_size - found->assigned;
		queue.erase(found);
		static_cast<lt::aux::bandwidth_socket&>(peer).assign_bandwidth(upload, buffered);
		return ahead;
	}

	// Takes the bytes of an advance from what the peer waits for; false when it does not wait.
	static bool pay_back(lt::aux::session_interface& session, lt::peer_connection& peer, int bytes)
	{
		auto& queue = waiting(session);
		auto const found = find(queue, peer);
		if (found == queue.end()) return false;
		found->assigned -= bytes;
		session.get_bandwidth_manager(upload)->*member(stolen::WaitingBytes{}) += bytes;
		return true;
	}

private:
	static constexpr int upload = lt::peer_connection::upload_channel;
	using Queue = std::vector<lt::aux::bw_request>;

	static Queue& waiting(lt::aux::session_interface& session)
	{ return session.get_bandwidth_manager(upload)->*member(stolen::WaitingForBandwidth{}); }

	static Queue::iterator find(Queue& queue, lt::peer_connection& peer)
	{
		return std::find_if(queue.begin(), queue.end(), [&](lt::aux::bw_request const& request)
			{ return request.peer.get() == static_cast<lt::aux::bandwidth_socket*>(&peer); });
	}

	// A request for bandwidth that waits keeps the priority and the limits it was made with. One
	// made while withheld would wait for ever: 10 bytes a second come to none in a tick of 25 ms.
	static void renew_request(lt::aux::bandwidth_manager& manager, lt::peer_connection& peer
		, int priority, lt::aux::bandwidth_channel* from, lt::aux::bandwidth_channel* to)
	{
		for (lt::aux::bw_request& request : manager.*member(stolen::WaitingForBandwidth{}))
		{
			if (request.peer.get() != static_cast<lt::aux::bandwidth_socket*>(&peer)) continue;
			request.priority = priority;
			// A list that ends at the first null, of the limits that apply; only withheld has one.
			int kept = 0;
			for (auto* const channel : request.channel)
				if (channel && channel != from && channel != to) request.channel[kept++] = channel;
			if (to && to->throttle() != 0 && kept < lt::aux::bw_request::max_bandwidth_channels)
				request.channel[kept++] = to;
			while (kept < lt::aux::bw_request::max_bandwidth_channels)
				request.channel[kept++] = nullptr;
		}
	}

	static constexpr char const* withheld_label = "speedpay withheld";

	std::array<lt::peer_class_t, 256> m_weighted{};
	lt::peer_class_t m_served{0};
	lt::peer_class_t m_withheld{0};
};

} // namespace speedpay
