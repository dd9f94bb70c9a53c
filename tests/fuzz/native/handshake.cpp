// A peer's BEP 10 handshakes as bytes, through libtorrent's own reader, and what it sends after them.
#include <libtorrent/bdecode.hpp>
#include <libtorrent/error_code.hpp>
#include <libtorrent/span.hpp>

#include "handshake.hpp"
#include "input.hpp"
#include "peer.hpp"

using namespace speedpay;

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size)
{
	Core core;
	Peer peer(core, 1);
	peer.connected(InfoHash{}, "127.0.0.1", 6881, false);
	Input in{data, size};
	int extended = 0;
	while (!in.empty())
	{
		char const* bytes;
		std::size_t const length = in.byte() | (std::size_t(in.byte()) << 8);
		std::size_t const count = in.bytes(length, bytes);
		libtorrent::error_code error;
		auto const read = libtorrent::bdecode({bytes, std::ptrdiff_t(count)}, error, nullptr, 100, 1000);
		if (error) continue;
		auto const id = message_id_in(read, "sp_pay");
		if (!id) continue;
		bool const first = peer.announced(*id);
		extended += first;
		expect(!first || (*id >= 1 && *id <= 255), "a number that a message can have");
		auto const frame = peer.framed("hello");
		expect(bool(frame) == peer.extended(), "framed for who takes ours");
		if (frame && *id > 0 && *id < 256)
			expect(std::uint8_t((*frame)[5]) == *id, "under the number the peer chose last");
		if (*id == 0) expect(!frame, "zero disables");
	}
	expect(extended <= 1, "announced once");
	return 0;
}
