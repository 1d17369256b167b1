package sock

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/internal/until"
)

// patience bounds every wait; nothing waits for it to pass.
const patience = time.Minute

var (
	loopback4 = netip.MustParseAddrPort("127.0.0.1:0")
	loopback6 = netip.MustParseAddrPort("[::1]:0")
)

// open makes a set of one UDP socket, with one more that clears DF.
func open(t *testing.T, at netip.AddrPort) (*Sockets, *Place) {
	t.Helper()
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	p := &Place{V6: at.Addr().Is6()}
	for _, clearDF := range []bool{false, true} {
		fd, err := p.Socket(unix.SOCK_DGRAM, 0)
		if err == nil {
			err = p.Prepare(fd, at, clearDF)
		}
		if err != nil {
			t.Fatal(err)
		}
		if clearDF {
			s.ClearDF = fd
		} else {
			s.Queues = append(s.Queues, fd)
		}
	}
	return s, p
}

// message is one that carries data to an address.
func message(data []byte, to netip.AddrPort, name *Name, iov *unix.Iovec) []Message {
	v6 := to.Addr().Is6()
	iov.Base = unsafe.SliceData(data)
	iov.SetLen(len(data))
	m := make([]Message, 1)
	m[0].Hdr.Name, m[0].Hdr.Namelen, m[0].Hdr.Iov = &name[0], name.Set(to.Addr(), to.Port(), v6), iov
	m[0].Hdr.SetIovlen(1)
	return m
}

func TestMessagesAndErrors(t *testing.T) {
	for _, at := range []netip.AddrPort{loopback4, loopback6} {
		a, p := open(t, at)
		b, _ := open(t, at)
		to, err := Local(b.Queues[0])
		if err != nil {
			t.Fatal(err)
		}
		var name Name
		var iov unix.Iovec
		msgs := message([]byte("hello"), to, &name, &iov)
		if n, errno := Send(a.Queues[0], msgs); n != 1 || errno != 0 {
			t.Fatal(n, errno)
		}
		q := b.NewQueue(0, p.V6, 4, 3)
		until.True(t, "it is received", patience, func() bool { return q.Receive(0, 99) == 1 })
		from, _ := Local(a.Queues[0])
		if data, truncated := q.Data(0); string(data) != "hel" || !truncated || cap(data) != 3 || q.Remote(0) != from {
			t.Errorf("%q, truncated %v, from %v; want the first 3 bytes, from %v", data, truncated, q.Remote(0), from)
		}
		if q.Receive(0, 1) != 0 || q.Receive(4, 1) != 0 {
			t.Error("received what is not there")
		}
		b.Close() // and now its port is closed
		errorsOf(t, a, a.NewQueue(0, p.V6, 1, 100), to, msgs)
	}
}

// errorsOf: the ICMP error comes by either socket, with what it quotes, and neither Send, Receive nor Wait allocates.
func errorsOf(t *testing.T, s *Sockets, q *Queue, to netip.AddrPort, msgs []Message) {
	t.Helper()
	defer time.AfterFunc(patience, s.Close).Stop() // so that a Wait for what never comes ends
	for _, fd := range []int{s.Queues[0], s.ClearDF} {
		n := testing.AllocsPerRun(5, func() {
			for got := false; !got && !q.Closed(); {
				if _, errno := Send(fd, msgs); errno != 0 && errno != unix.ECONNREFUSED {
					t.Fatal(errno)
				}
				q.Receive(0, 1)
				errs, err := q.Wait()
				if err != nil || len(errs) > maxErrors {
					t.Fatal(len(errs), err)
				}
				for _, e := range errs {
					if got = true; e.Remote != to || string(e.Quote) != "hello" || e.MTU != 0 || e.Code != "connection refused" {
						t.Fatalf("%+v", e)
					}
				}
			}
		})
		if n != 0 || q.Closed() {
			t.Errorf("%v allocations, gave up: %v", n, q.Closed())
		}
	}
}

// TestRefusedPeerCostsNobodyElse: the ICMP error that one message earned is reported by the next system call; it must not
// cost the message that call sends.
func TestRefusedPeerCostsNobodyElse(t *testing.T) {
	for _, at := range []netip.AddrPort{loopback4, loopback6} {
		a, _ := open(t, at)
		b, _ := open(t, at)
		fd := a.Queues[0]
		good, _ := Local(b.Queues[0])
		bad, _ := Local(b.ClearDF)
		_ = unix.Close(b.ClearDF)
		b.ClearDF = -1
		var names [2]Name
		var iovs [2]unix.Iovec
		toGood, toBad := message([]byte("hello"), good, &names[0], &iovs[0]), message([]byte("hello"), bad, &names[1], &iovs[1])
		for range 5 {
			if _, errno := Send(fd, toBad); errno != 0 {
				t.Fatal(errno)
			}
			poll := []unix.PollFd{{Fd: int32(fd)}}
			until.True(t, "an error comes", patience, func() bool {
				n, _ := unix.Poll(poll, 1000)
				return n == 1 && poll[0].Revents&unix.POLLERR != 0
			})
			if n, errno := Send(fd, toGood); n != 1 || errno != 0 {
				t.Errorf("%v: %d sent, %v", at.Addr(), n, errno)
			}
		}
	}
}

// TestCloseWaitsForUsers: a descriptor must not be closed under who uses it.
func TestCloseWaitsForUsers(t *testing.T) {
	s, _ := open(t, loopback4)
	u := s.User()
	u.Lock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Close()
	}()
	until.True(t, "the user is told of the end", patience, u.Closed)
	until.True(t, "Close waits for the user", patience, func() bool {
		select {
		case <-done:
			t.Fatal("closed under its user")
		default:
		}
		return until.Waits("sock.(*Sockets).Close", "sync.Mutex.Lock")
	})
	if _, err := Local(s.Queues[0]); err != nil {
		t.Errorf("closed under its user: %v", err)
	}
	u.Unlock()
	<-done
	s.Close()
}

func TestSenderByDF(t *testing.T) {
	s := &Sockets{Queues: []int{3, 4}, ClearDF: 5}
	if s.Sender(true) != 3 || s.Sender(false) != 5 {
		t.Error(s.Sender(true), s.Sender(false))
	}
	if s.ClearDF = -1; s.Sender(false) != 3 {
		t.Error(s.Sender(false))
	}
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	p := &Place{Device: "no-such-dev"}
	fd, err := p.Socket(unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := p.Prepare(fd, loopback4, false); err == nil || !strings.Contains(err.Error(), `device "no-such-dev"`) {
		t.Error(err)
	}
	p.Device = ""
	if err := p.Prepare(fd, netip.MustParseAddrPort("192.0.2.77:0"), false); err == nil || !strings.Contains(err.Error(), "192.0.2.77 is not an address of this host") {
		t.Error(err)
	}
	if err := Set(fd, Option{unix.SOL_SOCKET, 9999, 1}); err == nil || !strings.Contains(err.Error(), "1/9999") {
		t.Error(err)
	}
	if mtu, err := p.PathMTU(netip.MustParseAddr("127.0.0.9")); err != nil || mtu < 1500 {
		t.Error(mtu, err)
	}
}

func TestRefused(t *testing.T) {
	for errno, want := range map[unix.Errno]string{unix.EAGAIN: "full", unix.ENOBUFS: "full", unix.ENOMEM: "full", unix.EMSGSIZE: "big",
		unix.ENETUNREACH: "away", unix.EPERM: "away"} {
		if got := Refused(errno, "full", "big", "away"); got != want {
			t.Errorf("%v is %q, want %q", errno, got, want)
		}
	}
}

func TestTOSRoundTrip(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		c := make([]byte, IntControlLen)
		PutTOS(c, 0xb9, v6)
		m, rest, ok := NextControl(c)
		if tos, is := m.TOS(); !ok || !is || tos != 0xb9 || len(rest) != 0 {
			t.Errorf("v6 %v: %+v, %d bytes left", v6, m, len(rest))
		}
	}
	if _, ok := (Control{Level: unix.IPPROTO_IP, Type: unix.IP_TOS}).TOS(); ok {
		t.Error("TOS out of nothing")
	}
	if tos, ok := (Control{unix.IPPROTO_IP, unix.IP_TOS, []byte{7}}).TOS(); !ok || tos != 7 {
		t.Error(tos, ok)
	}
}

// extended is the control message of an ICMP error.
func extended(errno unix.Errno, origin byte, info uint32) []byte {
	c := make([]byte, unix.SizeofCmsghdr+extendedLen)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&c[0]))
	h.Level, h.Type = unix.IPPROTO_IP, unix.IP_RECVERR
	h.SetLen(len(c))
	binary.NativeEndian.PutUint32(c[unix.SizeofCmsghdr:], uint32(errno))
	c[unix.SizeofCmsghdr+4] = origin
	binary.NativeEndian.PutUint32(c[unix.SizeofCmsghdr+8:], info)
	return c
}

func TestExtendedError(t *testing.T) {
	tos := make([]byte, IntControlLen)
	PutTOS(tos, 1, false)
	tooBig := extended(unix.EMSGSIZE, unix.SO_EE_ORIGIN_ICMP, 1400)
	for name, c := range map[string]struct {
		control []byte
		ok      bool
		mtu     int
	}{
		"too big":             {tooBig, true, 1400},
		"behind another":      {append(bytes.Clone(tos), tooBig...), true, 1400},
		"ICMPv6, unreachable": {extended(unix.ENETUNREACH, unix.SO_EE_ORIGIN_ICMP6, 1400), true, 0},
		"our own kernel's":    {extended(unix.EMSGSIZE, unix.SO_EE_ORIGIN_LOCAL, 1400), true, 1400},
		"of another kind":     {extended(unix.EHOSTUNREACH, unix.SO_EE_ORIGIN_LOCAL, 1400), false, 0},
		"cut off":             {tooBig[:len(tooBig)-1], false, 0},
		"another":             {tos, false, 0},
		"nothing":             {nil, false, 0},
	} {
		var e Error
		if ok := e.extended(c.control); ok != c.ok || e.MTU != c.mtu || e.Local != (name == "our own kernel's") {
			t.Errorf("%s: %v %+v", name, ok, e)
		}
	}
}

// FuzzControl: whatever the bytes are, walking over them ends and stays within.
func FuzzControl(f *testing.F) {
	f.Add(extended(unix.EMSGSIZE, unix.SO_EE_ORIGIN_ICMP, 1400))
	f.Add(make([]byte, 40))
	f.Fuzz(func(t *testing.T, c []byte) {
		c = append(make([]byte, 0, len(c)+8), c...) // aligned, as the kernel's are
		new(Error).extended(c)
		for m, rest, ok := NextControl(c); ok; m, rest, ok = NextControl(c) {
			if len(m.Data)+len(rest) > len(c)-unix.SizeofCmsghdr {
				t.Fatalf("%d and %d bytes out of %d", len(m.Data), len(rest), len(c))
			}
			m.TOS()
			c = rest
		}
	})
}
