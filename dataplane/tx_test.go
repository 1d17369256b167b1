package dataplane

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/warrenvpn/warren/dataplane/packet"
)

// keepingUnderlay keeps the numbers that the frames sent through it bear.
type keepingUnderlay struct {
	Underlay
	sent []uint64
}

func (u *keepingUnderlay) NewSender() Sender { return u }

func (u *keepingUnderlay) Send(frames []Frame) {
	for _, f := range frames {
		u.sent = append(u.sent, binary.BigEndian.Uint64(f.Data))
	}
}

// TestTxKeepsFramesApart: whatever mixture of frames a batch makes, sealed in place or in Tx's arena, and wherever Tx has
// to send in between, no frame is written over before it has left.
func TestTxKeepsFramesApart(t *testing.T) {
	for _, size := range []int{64, 540, 1500, 9000, 65535} {
		for _, inPlace := range []int{0, 1, 20, 100, maxFrames - 2, maxFrames - 1, maxFrames} {
			u := new(keepingUnderlay)
			tx := newTx(&Counters{tunnels: new(tunnelTable)})
			path := &Path{Underlay: u, Remote: netip.MustParseAddrPort("192.0.2.2:4500")}
			n := uint64(0)
			for range inPlace {
				tx.Append(Frame{Data: binary.BigEndian.AppendUint64(nil, n), Path: path})
				n++
			}
			for range 3 * maxFrames {
				b := tx.Space(size)
				binary.BigEndian.PutUint64(b, n)
				tx.Take(size)
				tx.Append(Frame{Data: b, Path: path})
				n++
			}
			tx.Flush()
			if len(u.sent) != int(n) {
				t.Fatalf("%d bytes, %d in place: %d of %d frames left", size, inPlace, len(u.sent), n)
			}
			for i, got := range u.sent {
				if got != uint64(i) {
					t.Errorf("%d bytes, %d in place: frame %d left with the bytes of frame %d", size, inPlace, i, got)
					break
				}
			}
		}
	}
}

// counter is an SA's: it gives each run its numbers, and remembers which frames it was offered to renew.
type counter struct {
	next    uint64
	amid    bool // a run has numbers that it has not used
	renewed int
	bad     int
}

func (c *counter) Renew(_ int, frames []Frame, first uint64) {
	c.renewed += len(frames)
	for i, f := range frames {
		if c.amid || binary.BigEndian.Uint64(f.Data) != first+uint64(i) {
			c.bad++
		}
	}
}

// TestTxRenewsBetweenRuns: every frame of an ordinary run is offered for renewal, by its right number, and never amid a run,
// whatever the runs' lengths. Frames of runs that are longer than Tx has room for leave as they are.
func TestTxRenewsBetweenRuns(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, most := range []int{1, 3, 32, runFrames, maxFrames, 3 * maxFrames} {
		u, c := new(keepingUnderlay), new(counter)
		tx := newTx(&Counters{tunnels: new(tunnelTable)})
		path := &Path{Underlay: u, Remote: netip.MustParseAddrPort("192.0.2.2:4500")}
		for range 400 {
			n, first := 1+random.IntN(most), c.next
			c.amid = true
			for range n {
				b := tx.Space(runBytes / runFrames)
				binary.BigEndian.PutUint64(b, c.next)
				tx.Take(len(b))
				tx.Append(Frame{Data: b, Path: path})
				c.next++
			}
			c.amid = false
			tx.Numbered(c, n, first)
			if random.IntN(10) == 0 {
				tx.Flush()
			}
		}
		tx.Flush()
		if len(u.sent) != int(c.next) || c.bad > 0 || most <= runFrames && c.renewed != int(c.next) {
			t.Errorf("runs of up to %d: %d of %d frames left, %d were offered for renewal, %d wrongly", most, len(u.sent), c.next, c.renewed, c.bad)
		}
	}
}

// TestTxCountsWhatDidNotLeave for the worker and for the frame's tunnel.
func TestTxCountsWhatDidNotLeave(t *testing.T) {
	b := newBench(t)
	tx := &b.out.ctx.Tx
	path := &Path{Underlay: refusingUnderlay{}, Remote: netip.MustParseAddrPort("192.0.2.2:4500")}
	for i := range 3 * maxFrames {
		tx.Append(Frame{Data: make([]byte, 8), Path: path, Tunnel: []uint32{b.one.index, b.two.index}[i%2]})
	}
	tx.Flush()
	if got := b.drops(b.out.worker); got[packet.UnderlayFull] != 3*maxFrames || len(got) != 1 {
		t.Errorf("worker's drops %v", got)
	}
	for _, f := range []*fakeTunnel{b.one, b.two} {
		if s, _ := b.plane.TunnelStats(f.index); s.Drops[packet.UnderlayFull] != 3*maxFrames/2 {
			t.Errorf("drops of tunnel %s: %v", f.name, s.Drops)
		}
	}
}

type refusingUnderlay struct{ Underlay }

func (refusingUnderlay) NewSender() Sender { return refusingUnderlay{} }

func (refusingUnderlay) Send(frames []Frame) {
	for i := range frames {
		frames[i].Drop = packet.UnderlayFull
	}
}
