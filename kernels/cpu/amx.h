#pragma once

namespace dinfer::cpu {

// Whether this process may multiply with AMX tiles (bytes and bf16). The processor must announce
// them, the system must grant them to the process, and a child process must find their products
// right: some virtual machines announce AMX and end the program that uses it. Tried once a process;
// false as well where the assembler of the build did not know AMX.
bool amx_works();

}  // namespace dinfer::cpu
