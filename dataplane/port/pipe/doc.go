// Package pipe is a port whose far side is a test.
//
// What the test injects, a worker reads; what a worker writes, the test takes out. Both directions are bounded queues of
// copies, so that neither side ever sees the other's bytes.
//
// Reading order: [Config], [New], [Port.Inject] and [Port.Next] (the test's side), then the reader and the writer (the
// worker's side).
//
// # Concurrency
//
// The test's side may be used by any goroutine. Each reader and each writer belongs to one worker, as [dataplane.Port]
// says. Waiting is done on channels alone, so that it counts as durably blocked in a testing/synctest bubble, if the
// port was made in it.
//
// # Cost
//
// The worker's side allocates nothing once every slot of the queues has been used with the largest packet: slots go
// round. The test's side allocates what it hands out.
package pipe
