// The queue between two threads under any sequence of calls: whatever is merged, what comes out must say
// what went in, in an order that means the same. Where memory runs out, it must say that it lost count.
#include <deque>
#include <map>
#include <new>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <poll.h>

#include "core.hpp"
#include "input.hpp"

using namespace speedpay;

namespace {

// The allocation that fails, counted from the start of a call into the core; 0: none.
int failing = 0;

} // namespace

void* operator new(std::size_t size)
{
	if (failing > 0 && --failing == 0) throw std::bad_alloc();
	if (void* const memory = std::malloc(size)) return memory;
	throw std::bad_alloc();
}
void* operator new(std::size_t size, std::nothrow_t const&) noexcept { return std::malloc(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

constexpr int kib16 = 16 * 1024;

// One block as it happened: what it says, and its place among the messages and verdicts that matter.
struct Fact
{
	std::int32_t piece, start;  // of a sent block: the counters instead
	std::uint64_t asked_after, message_sequence;
	bool asked;
	int messages;  // of this connection, undrained, before it
	int verdicts;  // on this piece, undrained, before it
	bool operator<(Fact const& o) const
	{
		return std::tie(piece, start, asked_after, message_sequence, asked, messages, verdicts)
			< std::tie(o.piece, o.start, o.asked_after, o.message_sequence, o.asked, o.messages, o.verdicts);
	}
};

struct Line
{
	bool live = true, flooded = false, told = false;
	std::uint64_t sequence = 0;
	std::size_t undrained = 0;
	std::deque<std::string> messages;
	std::multiset<Fact> received;
	std::multiset<Fact> sent;
	std::optional<std::pair<bool, bool>> interest;
};

class Run
{
public:
	explicit Run(bool starving) : m_starving(starving) {}

	void step(Input& in)
	{
		ConnectionId const id = m_lines.empty() ? 0 : 1 + in.byte() % m_lines.size();
		Line* const line = id ? &m_lines[id] : nullptr;
		switch (in.byte() % 14)
		{
		case 0:
			if (m_lines.size() < 6) call(in, [&] {
				m_lines[m_core.connected(InfoHash{}, "127.0.0.1", 6881, true)];
			});
			break;
		case 1:
			if (!line || in.byte() % 8) break;
			call(in, [&] { m_core.gone(id, "gone"); });
			line->live = false;
			break;
		case 2: case 3: case 4: if (line) message(in, id, *line); break;
		case 5: case 6: if (line) received(in, id, *line); break;
		case 7: if (line) sent(in, id, *line); break;
		case 8: verdict(in); break;
		case 9: if (line) interest(in, id, *line); break;
		case 10:
			if (!line || in.byte() % 16) break;
			call(in, [&] { m_core.flooded(id); });
			line->flooded = line->flooded || line->live;
			break;
		case 11:
			m_core.command(id, SetWeight{id, in.byte()});
			if (in.byte() & 1) m_core.take_commands();
			if (in.byte() & 1) m_core.attach([] {});
			break;
		case 12: if (in.byte() == 255) close(); break;
		case 13: drain(); break;
		}
	}

	void drain()
	{
		pollfd descriptor{m_core.fd(), POLLIN, 0};
		bool const readable = m_core.fd() >= 0 && ::poll(&descriptor, 1, 0) == 1;
		bool lost = false;
		auto const events = m_core.drain(lost);
		expect(m_closed || readable || events.empty(), "the descriptor says that something waits");
		expect(!m_closed || events.empty(), "nothing after close");
		expect(lost == m_failed, "it says when it lost count, and only then");
		if (!m_failed && !m_closed) compare(events);
		m_verdicts.clear();
		for (auto& [id, line] : m_lines)
		{
			line.undrained = 0;
			line.messages.clear();
			line.received.clear();
			line.sent.clear();
			line.interest.reset();
		}
	}

private:
	template <typename Call>
	void call(Input& in, Call&& body)
	{
		failing = m_starving ? in.byte() % 8 : 0;
		try { body(); }
		catch (std::bad_alloc const&)
		{
			failing = 0;
			m_failed = true;
			m_core.lost_count();  // as the plugin does
		}
		failing = 0;
	}

	bool counts(Line const& line) const { return line.live && !m_closed; }

	void message(Input& in, ConnectionId id, Line& line)
	{
		char const* payload;
		auto const size = in.bytes(in.byte(), payload);
		std::string whole(payload, size);
		whole.resize(in.byte() & 1 ? whole.size() : max_message_bytes);
		bool taken = false;
		call(in, [&] { taken = m_core.message(id, line.sequence + 1, whole.data(), whole.size()); });
		if (m_failed) return;
		bool const fits = line.undrained + whole.size() + message_overhead_bytes <= max_undrained_bytes;
		expect(taken == (counts(line) && !line.flooded && fits), "taken unless it floods");
		if (counts(line) && !fits) line.flooded = true;
		if (!taken) return;
		++line.sequence;
		line.undrained += whole.size() + message_overhead_bytes;
		line.messages.push_back(std::move(whole));
	}

	void received(Input& in, ConnectionId id, Line& line)
	{
		std::uint8_t const what = in.byte();
		BlocksReceived const block{id, what % 3, kib16 * (what / 3 % 16), kib16, in.byte() % 2u, in.byte() % 2u
			, bool(what & 128)};
		call(in, [&] { m_core.block_received(1, block); });
		if (counts(line)) line.received.insert(Fact{block.piece, block.start, block.asked_after
			, block.message_sequence, block.asked, int(line.messages.size()), m_verdicts[block.piece]});
	}

	void sent(Input& in, ConnectionId id, Line& line)
	{
		BlocksSent const block{id, kib16, in.byte() % 3u, in.byte() % 2u};
		call(in, [&] { m_core.block_sent(block); });
		if (counts(line)) line.sent.insert(Fact{0, 0, block.asked_after, block.message_sequence, false
			, int(line.messages.size()), 0});
	}

	void verdict(Input& in)
	{
		std::uint8_t const what = in.byte();
		call(in, [&] { m_core.verdict(1, InfoHash{}, what % 3, what & 128); });
		++m_verdicts[what % 3];
	}

	void interest(Input& in, ConnectionId id, Line& line)
	{
		std::uint8_t const what = in.byte();
		call(in, [&] { m_core.interest(id, what & 1, what & 2); });
		if (counts(line)) line.interest = std::make_pair(bool(what & 1), bool(what & 2));
	}

	void close()
	{
		m_core.close();
		m_closed = true;
	}

	void compare(std::vector<Event> const& events)
	{
		std::map<ConnectionId, int> messages;
		std::map<std::int32_t, int> verdicts;
		std::map<ConnectionId, std::multiset<Fact>> received, sent;
		std::map<ConnectionId, std::pair<bool, bool>> interest;
		for (Event const& event : events)
		{
			if (auto const* said = std::get_if<Message>(&event))
			{
				Line& line = m_lines[said->connection];
				expect(!line.told, "nothing is heard of one who flooded");
				expect(!line.messages.empty() && line.messages.front() == said->payload, "messages in order, whole");
				line.messages.pop_front();
				expect(line.sequence == said->sequence + line.messages.size(), "messages are numbered");
				++messages[said->connection];
			}
			else if (auto const* flood = std::get_if<Flooded>(&event))
				expect(!std::exchange(m_lines[flood->connection].told, true), "a flood is told once");
			else if (auto const* in = std::get_if<BlocksReceived>(&event))
				for (int done = 0; done < in->length; done += kib16)
					received[in->connection].insert(Fact{in->piece, in->start + done, in->asked_after
						, in->message_sequence, in->asked, messages[in->connection], verdicts[in->piece]});
			else if (auto const* out = std::get_if<BlocksSent>(&event))
				for (std::uint64_t done = 0; done < out->byte_count; done += kib16)
					sent[out->connection].insert(Fact{0, 0, out->asked_after, out->message_sequence, false
						, messages[out->connection], 0});
			else if (auto const* passed = std::get_if<PiecePassed>(&event)) ++verdicts[passed->piece];
			else if (auto const* failed = std::get_if<PieceFailed>(&event)) ++verdicts[failed->piece];
			else if (auto const* changed = std::get_if<InterestChanged>(&event))
			{
				bool const first = interest.emplace(changed->connection
					, std::make_pair(changed->local, changed->remote)).second;
				expect(first, "one state of interest");
			}
		}
		for (auto& [id, line] : m_lines)
		{
			expect(line.messages.empty(), "no message is lost");
			expect(same(received[id], line.received), "blocks received, each at its place");
			expect(same(sent[id], line.sent), "blocks sent, each at its place");
			if (line.interest) expect(interest.count(id) && interest[id] == *line.interest, "the newest interest");
			expect(line.told == line.flooded, "who flooded is named");
		}
	}

	static bool same(std::multiset<Fact> const& a, std::multiset<Fact> const& b)
	{
		return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin()
			, [](Fact const& x, Fact const& y) { return !(x < y) && !(y < x); });
	}

	bool const m_starving;
	bool m_failed = false;
	bool m_closed = false;
	Core m_core;
	std::map<ConnectionId, Line> m_lines;
	std::map<std::int32_t, int> m_verdicts;
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size)
{
	Input in{data, size};
	Run run(in.byte() & 1);
	while (!in.empty()) run.step(in);
	run.drain();
	return 0;
}
