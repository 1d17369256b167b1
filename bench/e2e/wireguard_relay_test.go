//go:build linux

package e2e

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/blake2s"

	"github.com/warrenvpn/warren/bench/lab"
)

// Types of WireGuard's messages, their first octet (paper, section 5.4).
const (
	wgInitiation = 1
	wgCookie     = 3
	wgData       = 4
)

// wgRelay stands between two ends, passes on what it gets and remembers it.
type wgRelay struct {
	front, back *net.UDPConn
	to          netip.AddrPort

	mu     sync.Mutex
	client netip.AddrPort
	seen   [2][][]byte // from the client, to the client
}

func (w *wg) listen(h *lab.Host, at string) (conn *net.UDPConn) {
	w.t.Helper()
	w.must(h.Inside(func() (err error) {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at)))
		return err
	}))
	w.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// relay has a host pass on what comes to an address, from another one.
func (w *wg) relay(h *lab.Host, at, from, to string) *wgRelay {
	w.t.Helper()
	r := &wgRelay{front: w.listen(h, at), back: w.listen(h, from), to: netip.MustParseAddrPort(to)}
	go r.pass(r.front, 0)
	go r.pass(r.back, 1)
	return r
}

// pass passes on what one of the sockets gets, until that is closed.
func (r *wgRelay) pass(in *net.UDPConn, way int) {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := in.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.seen[way] = append(r.seen[way], slices.Clone(buf[:n]))
		if way == 0 {
			r.client = from
		}
		client := r.client
		r.mu.Unlock()
		if way == 0 {
			_, _ = r.back.WriteToUDPAddrPort(buf[:n], r.to) // what is lost, is lost
		} else {
			_, _ = r.front.WriteToUDPAddrPort(buf[:n], client)
		}
	}
}

// of returns the messages of a type that went one way.
func (r *wgRelay) of(way int, kind byte) (all [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.seen[way] {
		if len(b) > 0 && b[0] == kind {
			all = append(all, b)
		}
	}
	return all
}

// wgInitiationSize is the length of an initiation, macs that of what precedes its two macs of 16 octets each.
const (
	wgInitiationSize = 148
	wgMacs           = wgInitiationSize - 32
)

// flood sends initiations that hold nothing but the right mac1, which whoever knows the public key can make (paper, section 5.4.4),
// until the test ends.
func (w *wg) flood(h *lab.Host, public, to string) (stop func()) {
	w.t.Helper()
	key, err := base64.StdEncoding.DecodeString(public)
	w.must(err)
	conn := w.listen(h, "0.0.0.0:0")
	ctx, cancel := context.WithCancel(w.ctx)
	var running sync.WaitGroup
	running.Go(func() { sendInitiations(ctx, conn, key, netip.MustParseAddrPort(to)) })
	stop = func() { cancel(); running.Wait() }
	w.t.Cleanup(stop)
	return stop
}

// floodAtOnce is how many initiations come in one moment: more than either end takes before it asks for cookies.
const floodAtOnce = 2000

func sendInitiations(ctx context.Context, conn *net.UDPConn, public []byte, to netip.AddrPort) {
	label := blake2s.Sum256(append([]byte("mac1----"), public...))
	all := make([][]byte, floodAtOnce)
	for i := range all {
		b := make([]byte, wgInitiationSize)
		_, _ = rand.Read(b[4:wgMacs]) // never fails
		b[0] = wgInitiation
		mac, err := blake2s.New128(label[:])
		if err != nil {
			return
		}
		mac.Write(b[:wgMacs])
		copy(b[wgMacs:], mac.Sum(nil))
		all[i] = b
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		for _, b := range all {
			_, _ = conn.WriteToUDPAddrPort(b, to)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}
