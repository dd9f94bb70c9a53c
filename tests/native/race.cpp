// Network thread and Python threads at once on one Core, every call, closed and detached at any
// moment: for the race detector. What each side may expect of the other is checked as well.
//
//   race ROUNDS SEED
//
// Ends with 1 when an expectation is broken; the race detector has its own exit code.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "core.hpp"

using namespace speedpay;

namespace {

// Relaxed, all of them: an order that the test itself makes would hide what the core does not.
constexpr auto relaxed = std::memory_order_relaxed;

[[noreturn]] void broken(char const* what)
{
	std::printf("race: broken: %s\n", what);
	std::fflush(stdout);
	std::_Exit(1);
}

void expect(bool holds, char const* what) { if (!holds) broken(what); }

// A lock taken at once would put this thread in order with the others, whether or not it had taken one
// where it should: give them time to meet what it did.
void let_others_run() { for (int turn = 0; turn < 100; ++turn) std::this_thread::yield(); }

struct Round
{
	Core core;
	std::atomic<int> posted{0};       // calls of carry_out_commands that wait in the network thread
	std::atomic<int> threads_left{0};
	std::atomic<long> calls{0};
	// Network thread only, until that has ended.
	std::map<ConnectionId, std::uint64_t> sent;
	std::uint64_t commands_fetched = 0;
	bool let_go = false;
};

void network(Round& round, unsigned seed, int steps)
{
	std::mt19937 random(seed);
	Core& core = round.core;
	std::vector<ConnectionId> live;
	InfoHash const infohash{};
	int const abort_at = random() % 2 == 0 ? int(random() % unsigned(steps)) : steps;
	auto const carry_out = [&] {
		for (Command const& command : core.take_commands())
		{
			++round.commands_fetched;
			if (std::get_if<LetGo>(&command)) round.let_go = true;
		}
	};
	for (int step = 0; step < steps; ++step)
	{
		round.calls.fetch_add(1, relaxed);
		if (step == abort_at)
		{
			core.detach();
			let_others_run();
		}
		if (round.posted.load(relaxed) > 0)
		{
			round.posted.fetch_sub(1, relaxed);
			carry_out();
		}
		if (live.empty() || random() % 64 == 0)
			live.push_back(core.connected(infohash, "127.0.0.1", 6881, random() & 1));
		ConnectionId const id = live[random() % live.size()];
		auto const number = std::int32_t(random() % 4);
		switch (random() % 12)
		{
		case 0: core.extended(PeerExtended{id, {}, {}, infohash}); break;
		case 1:
			if (live.size() < 2) break;
			core.gone(live.back(), "closed");
			live.pop_back();
			break;
		case 2: core.interest(id, random() & 1, random() & 1); break;
		case 3: case 4: case 5:
		{
			std::string const payload(random() % 200, 'x');
			std::uint64_t& sequence = round.sent[id];
			if (core.message(id, sequence + 1, payload.data(), payload.size())) ++sequence;
			break;
		}
		case 6: if (random() % 256 == 0) core.flooded(id); break;
		case 7: case 8:
			core.block_received(1, BlocksReceived{id, number, 16384 * int(random() % 8), 16384, 0, 0, true});
			break;
		case 9: core.block_sent(BlocksSent{id, 16384, std::uint64_t(number), 0}); break;
		case 10: core.verdict(1, infohash, number, random() & 1); break;
		case 11:
			if (random() % 16 != 0) core.closed();
			else
			{
				core.lost_count();
				let_others_run();
			}
			break;
		}
		if (random() % 32 == 0) std::this_thread::yield();
	}
	round.threads_left.fetch_sub(1, relaxed);
}

struct Seen
{
	std::map<ConnectionId, std::uint64_t> messages;
	std::map<ConnectionId, bool> gone;
	long events = 0;
};

void look(Core& core, Seen& seen)
{
	bool lost = false;
	for (Event const& event : core.drain(lost))
	{
		++seen.events;
		if (auto const* came = std::get_if<PeerConnected>(&event))
			expect(seen.messages.emplace(came->connection, 0).second, "connected twice");
		if (auto const* left = std::get_if<PeerGone>(&event))
			expect(!std::exchange(seen.gone[left->connection], true), "gone twice");
		if (auto const* message = std::get_if<Message>(&event))
		{
			expect(message->payload.find_first_not_of('x') == std::string::npos, "a torn payload");
			expect(!seen.gone[message->connection], "a message after the end");
			expect(message->sequence == ++seen.messages[message->connection], "a message missing");
		}
	}
}

// One thread drains, as in Python; others give commands at the same time, and one of all closes.
void python(Round& round, unsigned seed, bool drains, bool closes, Seen& seen)
{
	std::mt19937 random(seed);
	Core& core = round.core;
	while (round.threads_left.load(relaxed) > 0)
	{
		round.calls.fetch_add(1, relaxed);
		ConnectionId const id = random() % 8;
		switch (random() % 6)
		{
		case 0: core.command(id, SendMessage{id, std::string(random() % 64, 'y')}); break;
		case 1: core.command(id, SetWeight{id, std::uint8_t(random())}); break;
		case 2: core.command(id, Withhold{id, bool(random() & 1)}); break;
		case 3: core.fd(); break;
		default: if (drains) look(core, seen);
		}
		if (closes && random() % 512 == 0)
		{
			core.close();
			core.close();
			expect(core.fd() == -1 && core.closed(), "open after close");
		}
		if (random() % 8 == 0) std::this_thread::yield();
	}
}

} // namespace

int main(int count, char** arguments)
{
	if (count != 3) return 2;
	int const rounds = std::atoi(arguments[1]);
	auto const seed = unsigned(std::strtoul(arguments[2], nullptr, 10));
	std::mt19937 random(seed);
	long calls = 0, events = 0, commands = 0, closed = 0;
	for (int number = 0; number < rounds; ++number)
	{
		Round round;
		bool const closes = random() % 2;
		round.threads_left = 1;
		Seen seen, unused;
		// Attached while the others are at work already.
		std::thread net(network, std::ref(round), random(), 3000);
		std::thread other(python, std::ref(round), random(), false, closes, std::ref(unused));
		round.core.attach([&round] { round.posted.fetch_add(1, relaxed); });
		std::thread drainer(python, std::ref(round), random(), true, false, std::ref(seen));
		net.join();
		drainer.join();
		other.join();
		look(round.core, seen);
		if (!round.core.closed())
			for (auto const& [id, messages] : round.sent)
				expect(seen.messages[id] == messages, "a message was lost");
		else ++closed;
		calls += round.calls.load(relaxed);
		events += seen.events;
		commands += long(round.commands_fetched);
	}
	std::printf("race: seed %u, %d rounds (%ld closed while busy), %ld calls, %ld events, %ld commands: 0 broken\n"
		, seed, rounds, closed, calls, events, commands);
	return 0;
}
