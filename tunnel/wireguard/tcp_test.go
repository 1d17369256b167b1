package wireguard_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/port/netstack"
	"github.com/warrenvpn/warren/dataplane/port/pipe"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

// addStack gives the host's plane a TCP stack with an address of its own, which is more specific than all routes.
func (h *host) addStack(t testing.TB, at string) *netstack.Port {
	t.Helper()
	a := netip.MustParseAddr(at)
	s, err := netstack.New(netstack.Config{Name: "stack", Addresses: []netip.Prefix{netip.PrefixFrom(a, 32)}, MTU: 1280})
	must(t, err)
	number, err := h.plane.AddPort(h.vrf, s, []netip.Addr{a})
	must(t, err)
	h.route(t, at+"/32", dataplane.PortHop(number))
	return s
}

// behind makes a plane with a stack, and joins it with wireguard-go's TUN.
func (w *theirs) behind(at string) *netstack.Port {
	w.t.Helper()
	h := bareHost(w.t, "tun", handshake.NewPrivateKey())
	number, err := h.plane.AddPort(h.vrf, h.port, nil)
	must(w.t, err)
	h.route(w.t, "0.0.0.0/0", dataplane.PortHop(number))
	stack := h.addStack(w.t, at)
	h.run(w.t)
	ctx, cancel := contextOf(w.t)
	var joined sync.WaitGroup
	w.t.Cleanup(func() { cancel(); joined.Wait() })
	joined.Go(func() {
		for {
			select {
			case b := <-w.in:
				if h.port.Inject(b) != nil {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	})
	joined.Go(func() {
		for {
			p, err := h.port.Next(ctx)
			if err != nil {
				return
			}
			for _, seg := range segments(&p) {
				select {
				case w.tun.Outbound <- seg:
				case <-ctx.Done():
					return
				}
			}
		}
	})
	return stack
}

// segments cuts a super-packet, since a TUN without offloads has none.
func segments(p *pipe.Packet) (segs [][]byte) {
	if p.Offload.GSO == wire.GSONone {
		if p.Offload.NeedsCsum {
			wire.CompleteChecksum(p.Data, &p.Offload)
		}
		return [][]byte{p.Data}
	}
	var cut wire.Segmenter
	if !cut.Reset(p.Data, 0, len(p.Data), &p.Offload) {
		return nil
	}
	for off, n := cut.Next(); n > 0; off, n = cut.Next() {
		segs = append(segs, append([]byte(nil), p.Data[off:off+n]...))
	}
	return segs
}

// TestTCPGoesOnWhileBothRoam: the addresses of wireguard-go and of ours change again and again in the middle of a transfer each
// way, and what arrives is what was sent.
func TestTCPGoesOnWhileBothRoam(t *testing.T) {
	w := &theirs{t: t, net: sim.New(sim.Config{}), keys: [2]handshake.PrivateKey{handshake.NewPrivateKey(), handshake.NewPrivateKey()}, real: true}
	w.startOurs(false)
	w.startTheirs()
	ours, others := w.addStack(t, "10.1.0.9"), w.behind("10.2.0.9")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ln, err := others.Listen("tcp", "10.2.0.9:80")
	must(t, err)
	c, err := ours.DialContext(ctx, "tcp", "10.2.0.9:80")
	must(t, err)
	defer c.Close()
	s, err := ln.Accept()
	must(t, err)
	defer s.Close()

	must(t, errors.Join(c.SetDeadline(time.Now().Add(2*time.Minute)), s.SetDeadline(time.Now().Add(2*time.Minute))))
	const moves = 4
	var tr transfers
	for i, ends := range [][2]net.Conn{{c, s}, {s, c}} {
		data := make([]byte, 1<<18+7)
		for j := range data {
			data[j] = byte(rand.Uint32())
		}
		taken := make(chan int, onTheWay+1)
		tr.running.Go(func() {
			if err := tr.send(ends[0], data, taken); err != nil {
				t.Errorf("send %d: %v", i, err)
			}
		})
		tr.running.Go(func() {
			defer close(taken)
			if err := tr.take(ends[1], data, taken); err != nil {
				t.Errorf("take %d: %v", i, err)
			}
		})
	}
	for i := range moves {
		part := tr.arrived.Load() + int64(shorter(1<<20, 1<<18)) // in the middle of both
		if !await(ctx, func() bool { return tr.arrived.Load() >= part }) || !w.move(ctx, i) {
			t.Errorf("move %d: %v", i, ctx.Err())
		}
	}
	tr.enough.Store(true)
	tr.running.Wait()
}

// transfers go on until it is enough.
type transfers struct {
	running sync.WaitGroup
	arrived atomic.Int64
	enough  atomic.Bool
}

// onTheWay is how many octets of a transfer may be on their way, all of which are lost with a move: what a stack then repeats, it
// repeats a few segments at a time.
const onTheWay = 48 << 10

// send sends data over and over.
func (tr *transfers) send(to net.Conn, data []byte, taken <-chan int) error {
	const chunk = 8 << 10
	for at, way := 0, 0; !tr.enough.Load() || at != 0; {
		for way > onTheWay-chunk {
			n, ok := <-taken
			if !ok {
				return errors.New("nobody takes it")
			}
			way -= n
		}
		n, err := to.Write(data[at:min(at+chunk, len(data))])
		if err != nil {
			return err
		}
		at, way = (at+n)%len(data), way+n
	}
	return to.(interface{ CloseWrite() error }).CloseWrite()
}

// take says whether that is what arrives.
func (tr *transfers) take(from net.Conn, data []byte, taken chan<- int) error {
	buf := make([]byte, 1<<16)
	for at := 0; ; {
		n, err := from.Read(buf)
		for _, b := range buf[:n] {
			if b != data[at%len(data)] {
				return fmt.Errorf("octet %d is another", at)
			}
			at++
		}
		tr.arrived.Add(int64(n))
		taken <- n // which has room for more than can be on its way
		switch {
		case errors.Is(err, io.EOF) && at%len(data) == 0:
			return nil
		case err != nil:
			return fmt.Errorf("after %d octets: %w", at, err)
		}
	}
}

// move moves one end and waits until the other side has noticed: two that move at the same time lose each other, and no protocol
// helps.
func (w *theirs) move(ctx context.Context, i int) bool {
	to := addr(fmt.Sprintf("198.51.100.%d:%d", 1+i, 1024+i))
	if i%2 == 0 {
		w.net.Rebind(addr("192.0.2.2:51820"), to)
		return await(ctx, func() bool { return w.peer.Path().Remote == to })
	}
	w.net.Rebind(addr("192.0.2.1:51820"), to)
	return await(ctx, func() bool {
		state, err := w.dev.IpcGet()
		return err == nil && strings.Contains(state, "endpoint="+to.String()+"\n")
	})
}

// await waits for cond, as long as ctx lasts.
func await(ctx context.Context, cond func() bool) bool {
	for !cond() {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(time.Millisecond):
		}
	}
	return true
}
