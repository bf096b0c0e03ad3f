/// What a program may tell the Swift runtime it is linked with.
#pragma once

/// Ends the checks, for the rest of the process, that no two accesses to a member of a class overlap: those in modules that
/// were compiled with them, such as SwiftNIO's (docs/decisions/0010). Called before the server's and
/// the client's threads are there.
void berth_stop_checking_exclusivity(void);
