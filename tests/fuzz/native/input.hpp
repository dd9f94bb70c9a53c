// Reads a fuzzer's bytes as small numbers, and stops the run when an expectation is broken.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

struct Input
{
	std::uint8_t const* data;
	std::size_t size;

	bool empty() const { return size == 0; }

	std::uint8_t byte()
	{
		if (size == 0) return 0;
		--size;
		return *data++;
	}

	// Any 32-bit number.
	std::int32_t number()
	{
		std::uint32_t value = 0;
		for (int i = 0; i < 4; ++i) value = (value << 8) | byte();
		std::int32_t result;
		std::memcpy(&result, &value, sizeof(result));
		return result;
	}

	std::size_t bytes(std::size_t most, char const*& begin)
	{
		std::size_t const count = size < most ? size : most;
		begin = reinterpret_cast<char const*>(data);
		data += count;
		size -= count;
		return count;
	}
};

inline void expect(bool holds, char const* what)
{
	if (holds) return;
	std::fprintf(stderr, "broken: %s\n", what);
	std::abort();
}
