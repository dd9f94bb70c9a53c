// Which of our messages were ahead of a block request: the log of requests that wait for an answer.
//
// No libtorrent types here and no locks: each log belongs to one connection and is touched on the
// network thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <tuple>

namespace speedpay {

struct Block {
	std::int32_t piece;
	std::int32_t start;
	bool operator<(Block const& other) const
	{ return std::tie(piece, start) < std::tie(other.piece, other.start); }
};

// libtorrent divides pieces into blocks of this size, in requests of either side.
constexpr int block_bytes = 16 * 1024;

// What a request, reject or block speaks of. From a peer, the three may be any numbers.
struct Span {
	std::int32_t piece;
	std::int32_t start;
	std::int32_t length;
	Block first() const { return Block{piece, start}; }
};

// Each block of a request that we made.
template <typename Each>
void for_each_block(Span const& request, Each&& each)
{
	for (std::int64_t done = 0; done < request.length; done += block_bytes)
		each(Block{request.piece, static_cast<std::int32_t>(request.start + done)});
}

// Answers to equal requests are matched first in, first out. With the FAST extension (BEP 6) every
// request is answered exactly once, by the block or by a reject, and over one ordered stream, so
// that both ends match the same request to the same block even after a cancel and a new request.
class RequestLog
{
public:
	struct Request
	{
		std::uint64_t messages_before;
		bool cancelled = false;
	};

	// libtorrent keeps at most 500 requests of ours outstanding and queues at most 2,000 of a
	// peer's, rejecting the rest at once. The bound is there for peers that never answer, or request
	// without end: the oldest block numbers give way, and their blocks count at the present counter.
	static constexpr std::size_t max_requests = 8192;

	void add(Block block, std::uint64_t messages_before)
	{
		if (m_requests.size() >= max_requests) m_requests.erase(m_requests.begin());
		m_requests.emplace(block, Request{messages_before});  // after its equals
	}

	// The oldest request for this block has been answered.
	std::optional<Request> take(Block block)
	{
		auto const found = m_requests.lower_bound(block);
		if (found == m_requests.end() || block < found->first) return std::nullopt;
		Request const request = found->second;
		m_requests.erase(found);
		return request;
	}

	// The oldest request for each block that begins within the span has been answered. It looks at
	// what is in the log, never at what the span could hold: every step is paid by a request that goes.
	void take_all(Span const& span)
	{
		std::int64_t const end = std::int64_t(span.start) + span.length;
		auto found = m_requests.lower_bound(span.first());
		while (found != m_requests.end() && found->first.piece == span.piece && found->first.start < end)
		{
			Block const block = found->first;
			m_requests.erase(found);
			found = m_requests.upper_bound(block);
		}
	}

	// The newest request for this block is no longer wanted, though its answer may be on the way.
	void cancel(Block block)
	{
		auto found = m_requests.upper_bound(block);
		while (found != m_requests.begin())
		{
			--found;
			if (found->first < block) return;
			if (found->second.cancelled) continue;
			found->second.cancelled = true;
			return;
		}
	}

	void clear() { m_requests.clear(); }
	std::size_t size() const { return m_requests.size(); }

private:
	// A multimap keeps equal keys in the order of their insertion.
	std::multimap<Block, Request> m_requests;
};

} // namespace speedpay
