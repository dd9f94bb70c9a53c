// Our entry in a peer's BEP 10 handshake.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <libtorrent/bdecode.hpp>

namespace speedpay {

// The number under which the peer takes messages of this name, as it stands there: any integer.
inline std::optional<std::int64_t> message_id_in(
	libtorrent::bdecode_node const& handshake, std::string const& message_name)
{
	// A handshake is a dictionary only if the peer made it one, and libtorrent asserts that it is.
	if (handshake.type() != libtorrent::bdecode_node::dict_t) return std::nullopt;
	auto const names = handshake.dict_find_dict("m");
	if (!names) return std::nullopt;
	auto const id = names.dict_find_int(message_name);
	if (!id) return std::nullopt;
	return id.int_value();
}

} // namespace speedpay
