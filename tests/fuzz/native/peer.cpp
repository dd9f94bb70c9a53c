// A hostile peer: requests, rejects, cancels, chokes, blocks and fragments of messages in any order and
// with any numbers, against a plain list of what was asked for.
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "input.hpp"
#include "peer.hpp"

using namespace speedpay;

namespace {

struct Asked
{
	Block block;
	std::uint64_t before;
	bool cancelled;
};

bool same(Block const& a, Block const& b) { return a.piece == b.piece && a.start == b.start; }

// What RequestLog promises, without its care for time.
struct List
{
	std::vector<Asked> asked;

	std::optional<Asked> take(Block block)
	{
		for (auto at = asked.begin(); at != asked.end(); ++at)
		{
			if (!same(at->block, block)) continue;
			Asked const found = *at;
			asked.erase(at);
			return found;
		}
		return std::nullopt;
	}

	void cancel(Block block)
	{
		for (auto at = asked.rbegin(); at != asked.rend(); ++at)
			if (same(at->block, block) && !at->cancelled)
			{
				at->cancelled = true;
				return;
			}
	}

	void take_all(Span const& span)
	{
		std::vector<Block> found;
		for (Asked const& each : asked)
		{
			bool known = false;
			for (Block const& block : found) known = known || same(block, each.block);
			std::int64_t const offset = std::int64_t(each.block.start) - span.start;
			if (!known && each.block.piece == span.piece && offset >= 0 && offset < span.length)
				found.push_back(each.block);
		}
		for (Block const& block : found) take(block);
	}
};

class Run
{
public:
	void step(Input& in)
	{
		switch (in.byte() % 17)
		{
		case 0:
			expect(peer.connected(InfoHash{}, "127.0.0.1", 6881, in.byte() & 1) == !known, "connected once");
			expect(drain().size() == std::size_t(!std::exchange(known, true)), "told once");
			break;
		case 1: if (in.byte() == 0) end(); break;
		case 2: announce(in); break;
		case 3: fragment(in); break;
		case 4: frame(in); break;
		case 5: ask(in); break;
		case 6: cancel(in); break;
		case 7: { Span const span = theirs(in); peer.rejected(span); asked.take_all(span); break; }
		case 8: receive(in); break;
		case 9: want(theirs(in)); break;
		case 10: { Span const span = theirs(in); peer.refused(span); wanted.take(span.first()); break; }
		case 11: { Span const span = theirs(in); peer.not_wanted(span); if (!fast) wanted.take(span.first()); break; }
		case 12: peer.choked(); if (!fast) wanted.asked.clear(); break;
		case 13: queue(in); break;
		case 14: leave(in); break;
		case 15: interest(in); break;
		case 16:
		{
			char bytes[8] = {};
			bytes[7] = char(in.byte());
			std::ptrdiff_t const size = in.byte() % 9;
			peer.reserved_bytes(bytes, size);
			fast = size == 8 && (bytes[7] & 4);
			break;
		}
		}
		check_quiet();
	}

private:
	// Numbers as our own libtorrent makes them: whole blocks within a piece.
	static Span ours(Input& in)
	{ return Span{in.byte() % 4, block_bytes * (in.byte() % 8), block_bytes * (1 + in.byte() % 4)}; }

	// Half the time near what is asked for, else any numbers at all.
	static Span theirs(Input& in)
	{
		if (in.byte() & 1) return ours(in);
		std::int32_t const piece = in.number(), start = in.number();
		return Span{piece, start, in.number()};
	}

	std::vector<Event> drain()
	{
		bool lost = false;
		auto events = core.drain(lost);
		expect(!lost, "nothing was lost");
		return events;
	}

	void check_quiet() { expect(drain().empty(), "an event that nothing explains"); }

	void end()
	{
		bool const was_there = peer.id() != 0;
		expect((peer.gone("gone") != 0) == was_there, "gone once");
		expect(drain().size() == std::size_t(was_there), "told that it is gone once");
		known = true;
	}

	void announce(Input& in)
	{
		std::int64_t const id = in.byte() & 1 ? in.byte() : in.number();
		bool const first = peer.announced(id);
		expect(!first || (id > 0 && id < 256 && peer.id()), "announced what it may");
		expect(!first || !extended, "announced once");
		extended = extended || first;
		if (id >= 0 && id <= 255) number = std::uint8_t(id);
		expect(peer.extended() == (extended && number != 0), "extended");
	}

	void fragment(Input& in)
	{
		int const length = in.byte() & 1 ? in.byte() : in.number();
		char const* body;
		auto const size = std::ptrdiff_t(in.bytes(in.byte(), body));
		if (length >= 0 && size > length) return;  // libtorrent never shows more than the message
		// A copy of just that size: a byte too many read is a byte out of bounds.
		std::vector<char> const exact(body, body + size);
		peer.fragment(length, exact.data(), size);
		auto const events = drain();
		if (!peer.id() || flooded) return expect(events.empty(), "no message of that peer");
		if (length < 0 || length > 4096)
		{
			expect(events.size() == 1 && std::get_if<Flooded>(&events[0]), "too long is a flood");
			flooded = true;
		}
		else if (size == length)
		{
			++received;
			auto const* message = events.size() == 1 ? std::get_if<Message>(&events[0]) : nullptr;
			expect(message && message->sequence == received
				&& message->payload == std::string(body, std::size_t(size)), "the message as sent");
		}
		else expect(events.empty(), "a fragment is no message");
	}

	void frame(Input& in)
	{
		char const* body;
		auto const size = in.bytes(in.byte(), body);
		std::string const payload(body, size);
		auto const made = peer.framed(payload);
		expect(bool(made) == (extended && number != 0), "framed when they take ours");
		if (!made) return;
		++sent;
		expect(made->size() == size + 6 && made->substr(6) == payload && (*made)[4] == 20
			&& std::uint8_t((*made)[5]) == number && std::uint8_t((*made)[3]) == ((size + 2) & 0xff), "the frame");
	}

	void ask(Input& in)
	{
		Span const span = ours(in);
		if (asked.asked.size() > 2000) return;
		peer.asked(span);
		for (int done = 0; done < span.length; done += block_bytes)
			asked.asked.push_back(Asked{Block{span.piece, span.start + done}, sent, false});
	}

	void cancel(Input& in)
	{
		Span const span = ours(in);
		peer.cancelled(span);
		for (int done = 0; done < span.length; done += block_bytes)
			asked.cancel(Block{span.piece, span.start + done});
	}

	void receive(Input& in)
	{
		Span span = ours(in);
		span.length = in.byte() & 1 ? block_bytes : in.byte() - 1;
		bool const counts = peer.id() && span.length > 0;
		peer.received(span);
		auto const events = drain();
		if (!counts) return expect(events.empty(), "no block");
		auto const request = asked.take(span.first());
		auto const* block = events.size() == 1 ? std::get_if<BlocksReceived>(&events[0]) : nullptr;
		expect(block && block->piece == span.piece && block->start == span.start
			&& block->length == span.length && block->message_sequence == received, "the block");
		expect(block->asked == (request && !request->cancelled), "asked for");
		expect(block->asked_after == (request ? request->before : sent), "under its bid");
	}

	void want(Span const& span)
	{
		peer.wanted(span);
		wanted.asked.push_back(Asked{span.first(), received, false});
	}

	void queue(Input& in)
	{
		Span const span{in.byte() % 4, block_bytes * (in.byte() % 8), block_bytes};
		peer.queued(span);
		if (!peer.id()) return;
		auto const request = wanted.take(span.first());
		queued.push_back(BlocksSent{peer.id(), block_bytes, request ? request->before : received, sent});
	}

	void leave(Input& in)
	{
		int const bytes = in.byte() & 1 ? in.byte() * 256 : in.number();
		peer.left(bytes);
		std::uint64_t left = bytes > 0 ? std::uint64_t(bytes) : 0;
		std::uint64_t told = 0, expected = 0;
		for (Event const& event : drain())
		{
			auto const* part = std::get_if<BlocksSent>(&event);
			expect(part, "only blocks leave");
			told += part->byte_count;
		}
		while (left > 0 && !queued.empty())
		{
			auto const part = std::min(left, queued[0].byte_count);
			if (peer.id()) expected += part;
			left -= part;
			if ((queued[0].byte_count -= part) == 0) queued.erase(queued.begin());
		}
		expect(told == expected, "what left is what was queued");
	}

	void interest(Input& in)
	{
		bool const on = in.byte() & 1;
		if (in.byte() & 1) peer.local_interest(on);
		else peer.remote_interest(on);
		auto const events = drain();
		expect(events.size() <= 1 && (events.empty() || std::get_if<InterestChanged>(&events[0])), "interest");
	}

public:
	Core core;
	Peer peer{core, 1};
	List asked, wanted;
	std::vector<BlocksSent> queued;
	std::uint64_t sent = 0, received = 0;
	std::uint8_t number = 0;
	bool known = false, fast = true, extended = false, flooded = false;
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size)
{
	Input in{data, size};
	Run run;
	while (!in.empty()) run.step(in);
	return 0;
}
