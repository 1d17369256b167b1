package sock

import (
	"errors"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane/internal/wait"
)

// Queue is one worker's end of the sockets: slots that messages are received into, and the ICMP errors that came.
type Queue struct {
	*User
	fd int
	// other is a socket that nobody receives from but whose errors are ours too, or -1.
	other   int
	sleeper *wait.Sleeper
	v6      bool
	size    int // of a slot
	buf     []byte
	msgs    []Message
	iovs    []unix.Iovec
	names   []Name
	control [][ControlLen]byte
	errs    errorQueue
	lost    uint32 // messages refused so far
	busy    int    // for how many turns nobody has looked for errors
}

// NewQueue returns the end of the i-th socket, with slots of size bytes each.
func (s *Sockets) NewQueue(i int, v6 bool, slots, size int) *Queue {
	q := &Queue{User: s.User(), fd: s.Queues[i], other: -1, v6: v6, size: size, buf: make([]byte, slots*size),
		msgs: make([]Message, slots), iovs: make([]unix.Iovec, slots), names: make([]Name, slots), control: make([][ControlLen]byte, slots)}
	if i == 0 {
		q.other = s.ClearDF
	}
	q.sleeper = s.waker.Sleeper(q.fd, q.other)
	for i := range q.msgs {
		q.iovs[i].Base = &q.buf[i*size]
		q.iovs[i].SetLen(size)
		h := &q.msgs[i].Hdr
		h.Name, h.Iov, h.Control = &q.names[i][0], &q.iovs[i], &q.control[i][0]
		h.SetIovlen(1)
	}
	return q
}

// Slots is how many messages fit.
func (q *Queue) Slots() int { return len(q.msgs) }

// Receive takes up to want messages into the slots from the first on, without waiting, and returns how many there were. An
// ICMP error that the kernel reports instead is not lost: it stays in the error queue, where Wait finds it.
func (q *Queue) Receive(first, want int) int {
	want = min(want, len(q.msgs)-first)
	if want <= 0 {
		return 0
	}
	for i := first; i < first+want; i++ {
		q.msgs[i].Hdr.Namelen = NameLen
		q.msgs[i].Hdr.SetControllen(ControlLen)
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(q.fd), uintptr(unsafe.Pointer(&q.msgs[first])), uintptr(want), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// Data returns what was received into a slot, with the slot's capacity, and whether the message was longer than that.
func (q *Queue) Data(i int) (data []byte, truncated bool) {
	m := &q.msgs[i]
	return q.buf[i*q.size : i*q.size+int(m.N) : (i+1)*q.size], m.Hdr.Flags&unix.MSG_TRUNC != 0
}

// Remote returns whom the message in a slot came from.
func (q *Queue) Remote(i int) netip.AddrPort { return q.names[i].AddrPort(q.v6) }

// Control returns the control messages of the one in a slot.
func (q *Queue) Control(i int) []byte { return q.control[i][:q.msgs[i].Hdr.Controllen] }

// Lost takes what a message says of those refused so far, and returns how many they are since it was last told.
func (q *Queue) Lost(soFar uint32) int {
	n := soFar - q.lost
	q.lost = soFar
	return int(n)
}

// Wait sleeps until there may be messages, or the sockets are closed. ICMP errors wake it too: it returns them, valid
// until the next Wait.
func (q *Queue) Wait() ([]Error, error) {
	events, others, err := q.sleeper.Sleep()
	switch {
	case errors.Is(err, wait.ErrWoken):
		return nil, nil
	case err != nil:
		return nil, err
	case (events|others)&unix.POLLERR == 0:
		return nil, nil
	}
	return q.look(), nil
}

// lookAfter is how many turns a worker may be busy before it looks for errors all the same.
const lookAfter = 64

// Busy is called instead of Wait by a worker that need not wait. Once in a while it returns the ICMP errors that came meanwhile, as
// Wait does: a queue that is never empty must not keep them away.
func (q *Queue) Busy() []Error {
	if q.busy++; q.busy < lookAfter {
		return nil
	}
	return q.look()
}

// look returns the ICMP errors that have come.
func (q *Queue) look() []Error {
	q.busy, q.errs.n = 0, 0
	q.errs.drain(q.fd, q.v6)
	if q.other >= 0 {
		q.errs.drain(q.other, q.v6)
	}
	return q.errs.all[:q.errs.n]
}
