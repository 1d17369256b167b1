// Package lab builds networks of real hosts on one machine, for tests and benchmarks that need kernels and programs
// which are not ours: every host is a Linux network namespace, every link a veth pair, every peer an ordinary process.
//
// Reading order: [ForTest] and [Require] (how a test starts), [Lab] (what owns everything), [Host] and [Process] (where
// and how programs run), [Lab.Connect] (links), then what is measured with: [Host.Ping], [Host.TCPRate], [Host.UDPTrial],
// [Host.NoDropRate], [Host.Capture], [Flows], [Standstills]; then the peers: [Host.StartStrongSwan], [ConnectWireGuard].
//
// # Ownership
//
// A [Lab] owns its namespaces, processes and one directory for their files, and takes all of them away in [Lab.Close], in
// reverse order. Names carry the id of the test process and a running number, so labs of several packages live side by
// side. A lab that was killed before its Close leaves no process behind (the kernel ends them with their parent), and what else
// it left is removed by the next lab that is made.
//
// # Time
//
// Every wait has a deadline: a context, or [WaitFor] with a condition. Nothing here sleeps to let something happen.
//
// # Privilege
//
// Namespaces need root. [ForTest] skips a test of an ordinary user and says so; for root a missing program is a failure,
// because a run that was allowed to install what it needs must not pass by leaving things out.
//
// # Concurrency
//
// A Lab and its Hosts may be used by several goroutines. [Process] and [Capture] may be stopped more than once.
//
// Linux only; on other systems the package is empty.
package lab
