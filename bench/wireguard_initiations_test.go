package bench

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

// wgInitiator is a peer that only begins sessions: a handshake machine with a clock of its own.
type wgInitiator struct {
	device *handshake.Device
	peer   *handshake.Peer
	now    time.Time
	last   uint32 // index
}

// Allocate and Release implement handshake.Indices.
func (w *wgInitiator) Allocate(*handshake.Peer) uint32 { w.last++; return w.last }
func (w *wgInitiator) Release(uint32)                  {}

func newWGInitiator(tb testing.TB, to handshake.PublicKey) *wgInitiator {
	tb.Helper()
	w := &wgInitiator{now: time.Now()}
	var err error
	w.device, err = handshake.New(handshake.Config{PrivateKey: handshake.NewPrivateKey(), Indices: w, Wall: func() time.Time { return w.now }})
	must(tb, err)
	w.peer, err = w.device.AddPeer(w.now, handshake.PeerConfig{PublicKey: to})
	must(tb, err)
	return w
}

// next is the next initiation.
func (w *wgInitiator) next() []byte {
	w.now = w.now.Add(2 * handshake.RekeyTimeout) // so that the machine tries again
	w.peer.NeedSession(w.now)
	for {
		for _, a := range w.device.Actions() {
			if s, ok := a.(handshake.Send); ok {
				return slices.Clone(s.Bytes)
			}
		}
		w.now = w.now.Add(time.Second)
		w.device.Tick(w.now)
	}
}

// wgInitiators are many peers of one responder. Their initiations are used in turn, so that those of one peer come as far from each
// other as a responder wants them to.
type wgInitiators struct {
	all  []*wgInitiator
	turn int
}

func newWGInitiators(tb testing.TB, n int, to handshake.PublicKey) *wgInitiators {
	tb.Helper()
	w := &wgInitiators{all: make([]*wgInitiator, n)}
	for i := range w.all {
		w.all[i] = newWGInitiator(tb, to)
	}
	return w
}

func (w *wgInitiators) peers() (peers []wgPeer) {
	for i, x := range w.all {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		peers = append(peers, wgPeer{key: x.device.PublicKey(), prefix: netip.PrefixFrom(a, 32)})
	}
	return peers
}

func (w *wgInitiators) next(n int) [][]byte {
	messages := make([][]byte, n)
	for i := range messages {
		messages[i] = w.all[w.turn%len(w.all)].next()
		w.turn++
	}
	return messages
}

// wgCaller sends initiations and waits for the responses, some at the same time. Its socket blocks, so that what the initiator
// takes is the thread's and not the scheduler's.
type wgCaller struct{ fd int }

func newWGCaller(tb testing.TB, to netip.AddrPort) wgCaller {
	tb.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(tb, err)
	tb.Cleanup(func() { must(tb, unix.Close(fd)) })
	must(tb, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}))
	must(tb, unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}))
	return wgCaller{fd}
}

// call returns when all messages were answered by a response. So few are under way that no responder thinks it is under load.
func (c wgCaller) call(tb testing.TB, messages [][]byte) {
	tb.Helper()
	const atOnce = 32
	var b [1 << 11]byte
	sent, answered := 0, 0
	for answered < len(messages) {
		for sent < len(messages) && sent-answered < atOnce {
			if _, err := unix.Write(c.fd, messages[sent]); err != nil {
				tb.Fatal(err)
			}
			sent++
		}
		n, err := unix.Read(c.fd, b[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			tb.Fatalf("%d of %d initiations were answered: %v", answered, len(messages), err)
		}
		if kind, ok := handshake.TypeOf(b[:n]); ok && kind == handshake.TypeResponse {
			answered++
		} else if kind == handshake.TypeCookieReply {
			tb.Fatal("the responder thinks that it is under load")
		}
	}
}
