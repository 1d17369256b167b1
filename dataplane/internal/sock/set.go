package sock

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane/internal/wait"
)

// Sockets are the descriptors of one underlay. Until they are handed to workers the fields are the opener's.
type Sockets struct {
	// Queues are the sockets that workers receive from, one each.
	Queues []int
	// ClearDF is the socket that leaves DF clear and is only sent from, or -1.
	ClearDF int

	waker  *wait.Waker
	closed atomic.Bool
	mu     sync.Mutex
	users  []*User
}

// New returns a set without sockets. It holds a descriptor until Close.
func New() (*Sockets, error) {
	waker, err := wait.NewWaker()
	if err != nil {
		return nil, err
	}
	return &Sockets{ClearDF: -1, waker: waker}, nil
}

// User is who uses the descriptors: a receiver or a sender, which locks it for the length of one call and looks first
// whether the sockets are Closed. Nobody but Close ever contends for it.
type User struct {
	sync.Mutex
	s *Sockets
}

// User returns a new user.
func (s *Sockets) User() *User {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := &User{s: s}
	s.users = append(s.users, u)
	return u
}

// Closed says whether Close has begun.
func (u *User) Closed() bool { return u.s.closed.Load() }

// Sender returns the socket that sends with the DF flag as asked for. Without a socket that leaves it clear, it is set.
func (s *Sockets) Sender(df bool) int {
	if !df && s.ClearDF >= 0 {
		return s.ClearDF
	}
	return s.Queues[0]
}

// Close wakes every receiver and closes the sockets when no user holds them any more: a descriptor that is closed under a
// sender might be somebody else's by the time it sends. It may be called twice, and on a set that was never filled.
func (s *Sockets) Close() {
	if s.closed.Swap(true) {
		return
	}
	s.waker.Wake()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.users {
		u.Lock()
		defer u.Unlock()
	}
	for _, fd := range append(s.Queues, s.ClearDF) {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	s.waker.Close()
}
