package sim

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
)

var (
	addrA = netip.MustParseAddrPort("192.0.2.1:4500")
	addrB = netip.MustParseAddrPort("192.0.2.2:4500")
)

func join(t *testing.T, n *Network, at netip.AddrPort) dataplane.Underlay {
	t.Helper()
	u, err := n.Underlay(at, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = u.Close() })
	return u
}

func numbered(u dataplane.Underlay, to netip.AddrPort, n int) []dataplane.Frame {
	p := &dataplane.Path{Underlay: u, Remote: to}
	fs := make([]dataplane.Frame, n)
	for i := range fs {
		b := make([]byte, 100)
		binary.BigEndian.PutUint32(b, uint32(i))
		fs[i] = dataplane.Frame{Data: b, Path: p, TOS: 7}
	}
	return fs
}

// arrived takes what is there without waiting, as numbers.
func arrived(u dataplane.Underlay) (numbers []uint32, trains []dataplane.Train) {
	q := u.Receivers()[0].(*queue)
	var rx dataplane.Rx
	for {
		rx.Trains = rx.Trains[:0]
		if !q.take(&rx) {
			return numbers, trains
		}
		for _, tr := range rx.Trains {
			numbers = append(numbers, binary.BigEndian.Uint32(tr.Data))
			trains = append(trains, tr)
		}
	}
}

func TestWithoutFaultsAllArriveInOrder(t *testing.T) {
	n := New(Config{})
	a, b := join(t, n, addrA), join(t, n, addrB)
	fs := numbered(a, addrB, 500)
	a.NewSender().Send(fs)
	clear(fs[0].Data) // the network has copied
	got, trains := arrived(b)
	if len(got) != 500 || !slices.IsSorted(got) || trains[3].Remote != addrA || trains[3].TOS != 7 {
		t.Errorf("%d arrived, from %v", len(got), trains[3].Remote)
	}
	if _, err := n.Underlay(addrA, 1); err == nil {
		t.Error("two endpoints at one address")
	}
}

// TestFaultRates: each fault happens about as often as it was asked for, and the same seed does the same again.
func TestFaultRates(t *testing.T) {
	const frames = 20_000
	once := func(f Faults) ([]uint32, Stats) {
		n := New(Config{Seed: 42, Faults: f, Queue: 3 * frames})
		a, b := join(t, n, addrA), join(t, n, addrB)
		a.NewSender().Send(numbered(a, addrB, frames))
		got, _ := arrived(b)
		return got, n.Stats()
	}
	near := func(what string, n uint64, share float64) {
		t.Helper()
		if want := share * frames; float64(n) < want*0.9 || float64(n) > want*1.1 {
			t.Errorf("%s: %d of %d, want about %.0f", what, n, frames, want)
		}
	}
	_, s := once(Faults{Loss: 0.1})
	near("lost", s.Lost, 0.1)
	_, s = once(Faults{Duplicate: 0.2})
	near("duplicated", s.Duplicated, 0.2)
	near("delivered", s.Delivered, 1.2)
	_, s = once(Faults{Corrupt: 0.3})
	near("corrupted", s.Corrupted, 0.3)
	got, s := once(Faults{Reorder: 0.2})
	near("reordered", s.Reordered, 0.2*0.8+0.04*0.2) // only while none is held back
	if slices.IsSorted(got) {
		t.Error("nothing out of order")
	}
	all := Faults{Loss: .1, Duplicate: .1, Corrupt: .1, Reorder: .1}
	first, _ := once(all)
	again, _ := once(all)
	if !slices.Equal(first, again) {
		t.Error("the same seed did something else")
	}
}

// TestWhatFaultsDo to frames: one bit of a damaged one is another, all over the frame, and a second copy is like the first.
func TestWhatFaultsDo(t *testing.T) {
	const frames = 4000
	n := New(Config{Seed: 7, Faults: Faults{Corrupt: 1, Duplicate: 1}, Queue: 2 * frames})
	a, b := join(t, n, addrA), join(t, n, addrB)
	fs := numbered(a, addrB, frames)
	for i := range fs {
		clear(fs[i].Data)
	}
	a.NewSender().Send(fs)
	_, trains := arrived(b)
	if len(trains) != 2*frames {
		t.Fatalf("%d arrived", len(trains))
	}
	hit := map[int]bool{}
	for i := 0; i < len(trains); i += 2 {
		ones := 0
		for at, c := range trains[i].Data {
			if ones += bits.OnesCount8(c); c != 0 {
				hit[8*at+bits.TrailingZeros8(c)] = true
			}
		}
		if ones != 1 || !slices.Equal(trains[i].Data, trains[i+1].Data) || len(trains[i].Data) != 100 {
			t.Fatalf("damaged to %x, and the copy to %x", trains[i].Data, trains[i+1].Data)
		}
	}
	if len(hit) < 780 { // of 800, of which chance should leave out 5
		t.Errorf("only %d bits are ever hit", len(hit))
	}
	for i := range fs {
		if slices.ContainsFunc(fs[i].Data, func(c byte) bool { return c != 0 }) {
			t.Fatal("the sender's own bytes were changed")
		}
	}
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(Config{Faults: Faults{Delay: 50 * time.Millisecond, Jitter: 10 * time.Millisecond}})
		a, b := join(t, n, addrA), join(t, n, addrB)
		begun := time.Now()
		a.NewSender().Send(numbered(a, addrB, 1))
		var rx dataplane.Rx
		if err := b.Receivers()[0].Recv(&rx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took < 50*time.Millisecond || took > 60*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestMTUAndCutAndFull(t *testing.T) {
	n := New(Config{Queue: 5})
	a, b := join(t, n, addrA), join(t, n, addrB)
	n.Set(addrA.Addr(), addrB.Addr(), Faults{MTU: 127})
	fs := numbered(a, addrB, 2)
	fs[0].DF = true
	a.NewSender().Send(fs)
	if got, _ := arrived(b); fs[0].Drop != packet.UnderlayTooBig || fs[1].Drop != packet.None || len(got) != 1 {
		t.Errorf("with DF %v, without %v, %d arrived", fs[0].Drop, fs[1].Drop, len(got))
	}
	var rx dataplane.Rx
	if err := a.Receivers()[0].Recv(&rx); err != nil || len(rx.Errors) != 1 || rx.Errors[0].MTU != 127 || rx.Errors[0].Remote != addrB {
		t.Errorf("%v %+v", err, rx.Errors)
	}
	n.Cut(addrA.Addr(), addrB.Addr(), true)
	a.NewSender().Send(numbered(a, addrB, 3))
	if got, _ := arrived(b); len(got) != 0 {
		t.Errorf("%d passed a cut", len(got))
	}
	n.Cut(addrB.Addr(), addrA.Addr(), false)
	n.Set(addrA.Addr(), addrB.Addr(), Faults{})
	a.NewSender().Send(numbered(a, addrB, 9))
	for _, lost := range []int{4, 0} {
		if err := b.Receivers()[0].Recv(&rx); err != nil || len(rx.Trains) != 5 || rx.Lost != lost || n.Stats().Full != 4 {
			t.Errorf("%v, %d arrived at a queue of 5, %d had no room, want %d", err, len(rx.Trains), rx.Lost, lost)
		}
		a.NewSender().Send(numbered(a, addrB, 5))
	}
}

func TestRebind(t *testing.T) {
	n := New(Config{})
	a, b := join(t, n, addrA), join(t, n, addrB)
	outside := netip.MustParseAddrPort("198.51.100.1:9999")
	n.Rebind(addrA, outside)
	a.NewSender().Send(numbered(a, addrB, 1))
	_, trains := arrived(b)
	if len(trains) != 1 || trains[0].Remote != outside {
		t.Fatalf("%+v", trains)
	}
	b.NewSender().Send(numbered(b, outside, 2))
	b.NewSender().Send(numbered(b, addrA, 4))
	if got, _ := arrived(a); len(got) != 2 {
		t.Errorf("%d arrived, want the 2 that went to the new address", len(got))
	}
}
