#pragma once

#include <cstddef>

namespace dinfer {

// Raises this process's limit of open files to what so many connections take beside all else, as
// far as the system lets it. Returns how many connections there is room for.
size_t make_room_for_connections(size_t connections);

}  // namespace dinfer
