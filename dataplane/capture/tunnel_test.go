package capture

import (
	"bytes"
	"io"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/internal/race"
	"github.com/warrenvpn/warren/internal/until"
)

// batchOf holds clear packets.
func batchOf(pkts ...[]byte) []packet.Packet {
	b := packet.NewBatch(1 << 18)
	for _, p := range pkts {
		copy(b.Space(len(p)), p)
		b.Commit(0, len(p))
	}
	return b.Packets()
}

// TestTunnelHasTwoInterfaces: one for each side, whatever underlays its frames go through.
func TestTunnelHasTwoInterfaces(t *testing.T) {
	var file bytes.Buffer
	w := NewWriter(&file, Options{Now: newClock().now})
	tap := TapTunnel("site-b", Sides{Clear: true, Sealed: true}, w)
	v4 := &fakeUnderlay{local: netip.MustParseAddrPort("192.0.2.1:4500"), encap: dataplane.Encap{UDP: true}}
	v6 := &fakeUnderlay{local: netip.MustParseAddrPort("[2001:db8::1]:4501"), encap: dataplane.Encap{UDP: true, IPv6: true}}
	to4 := &dataplane.Path{Underlay: v4, Remote: netip.MustParseAddrPort("192.0.2.2:4500")}
	to6 := &dataplane.Path{Underlay: v6, Remote: netip.MustParseAddrPort("[2001:db8::2]:4502")}
	pkts := batchOf(ipv4(100, 1), ipv4(101, 2), ipv4(102, 3))
	pkts[1].Drop = packet.NoSA
	tap.Clear(0, true, pkts)
	tap.Sent(0, []dataplane.Frame{{Data: make([]byte, 40), Path: to4, TOS: 7, DF: true}, {Data: make([]byte, 41), Path: to6}})
	tap.Received(dataplane.MaxWorkers, v4, dataplane.Train{Data: make([]byte, 90), Size: 50, Remote: to4.Remote})
	tap.Clear(1, false, batchOf(ipv4(103, 4)))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	tap.Clear(0, true, pkts) // late
	got := readBack(t, file.Bytes())
	want := []struct {
		iface    string
		dir      uint32
		length   int
		src, dst string
	}{
		{"site-b clear", outbound, 100, "", ""}, {"site-b clear", outbound, 102, "", ""},
		{"site-b sealed", outbound, 68, "192.0.2.1:4500", "192.0.2.2:4500"},
		{"site-b sealed", outbound, 89, "2001:db8::1:4501", "2001:db8::2:4502"},
		{"site-b sealed", inbound, 78, "192.0.2.2:4500", "192.0.2.1:4500"},
		{"site-b sealed", inbound, 68, "192.0.2.2:4500", "192.0.2.1:4500"},
		{"site-b clear", inbound, 103, "", ""},
	}
	if len(got) != len(want) {
		t.Fatalf("%d packets, want %d", len(got), len(want))
	}
	for i, g := range got {
		x := want[i]
		if g.iface != x.iface || g.dir != x.dir || g.length != x.length || g.link != layers.LinkTypeRaw {
			t.Errorf("packet %d: %+v, want %+v", i, g, x)
		}
		if x.src == "" {
			continue
		}
		first := gopacket.Decoder(layers.LayerTypeIPv4)
		if g.data[0]>>4 == 6 {
			first = layers.LayerTypeIPv6
		}
		p := gopacket.NewPacket(g.data, first, gopacket.Default)
		n, u := p.NetworkLayer().NetworkFlow(), p.TransportLayer().TransportFlow()
		if src, dst := n.Src().String()+":"+u.Src().String(), n.Dst().String()+":"+u.Dst().String(); src != x.src || dst != x.dst {
			t.Errorf("packet %d: from %s to %s, want %s to %s", i, src, dst, x.src, x.dst)
		}
	}
	if s := w.Stats(); s != (Stats{Captured: 7, Written: 7}) {
		t.Errorf("stats %+v", s)
	}
}

func TestOneSideIsEnough(t *testing.T) {
	for _, sides := range []Sides{{Clear: true}, {Sealed: true}} {
		var file bytes.Buffer
		w := NewWriter(&file, Options{})
		tap := TapTunnel("b", sides, w)
		path := &dataplane.Path{Underlay: &fakeUnderlay{local: netip.MustParseAddrPort("192.0.2.1:0")}, Remote: netip.MustParseAddrPort("192.0.2.2:0")}
		tap.Clear(0, true, batchOf(ipv4(100, 1)))
		tap.Sent(0, []dataplane.Frame{{Data: make([]byte, 40), Path: path}})
		tap.Received(0, path.Underlay, dataplane.Train{Data: make([]byte, 40), Remote: path.Remote})
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		n, iface := 1, "b clear"
		if sides.Sealed {
			n, iface = 2, "b sealed"
		}
		if got := readBack(t, file.Bytes()); len(got) != n || got[0].iface != iface {
			t.Errorf("%+v: %+v", sides, got)
		}
	}
}

// TestCountEndsTheCapture: with exactly so many packets in the file, and its statistics.
func TestCountEndsTheCapture(t *testing.T) {
	var file bytes.Buffer
	w := NewWriter(&file, Options{Count: 3})
	tap := TapTunnel("b", Sides{Clear: true}, w)
	tap.Clear(0, true, batchOf(ipv4(100, 1), ipv4(100, 2)))
	tap.Clear(1, true, batchOf(ipv4(100, 3), ipv4(100, 4)))
	select {
	case <-w.Done():
	case <-time.After(patience):
		t.Fatal("it goes on")
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if got, s := readBack(t, file.Bytes()), w.Stats(); len(got) != 3 || s.Written != 3 {
		t.Errorf("%d packets, %+v", len(got), s)
	}
}

// TestTimesNeverGoBack: neither where the system's clock does, nor where a worker comes late with what it has.
func TestTimesNeverGoBack(t *testing.T) {
	var file bytes.Buffer
	w := NewWriter(&file, Options{Now: newClock().now})
	tap := TapTunnel("b", Sides{Clear: true}, w).(*tunnelTap)
	late := meta{kind: kindClear, dir: outbound, time: w.stamp()}
	tap.Clear(0, true, batchOf(ipv4(100, 1)))
	until.True(t, "the first is written", patience, func() bool { return w.Stats().Written == 1 })
	r := tap.clear.ring(w, 1)
	r.put(&late, ipv4(100, 2))
	w.publish(r)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := readBack(t, file.Bytes()); len(got) != 2 || got[1].time.Before(got[0].time) {
		t.Errorf("%+v", got)
	}
}

// TestTunnelsAreCapturedByManyWorkers: with a file too slow for them, nobody waits, and what is not in it is counted.
func TestTunnelsAreCapturedByManyWorkers(t *testing.T) {
	r, out := io.Pipe() // which takes nothing until somebody reads
	w := NewWriter(out, Options{RingBytes: 1, SnapLen: 1000})
	tap := TapTunnel("b", Sides{Clear: true, Sealed: true}, w)
	path := &dataplane.Path{Underlay: &fakeUnderlay{local: netip.MustParseAddrPort("192.0.2.1:0")}, Remote: netip.MustParseAddrPort("192.0.2.2:0")}
	const workers, rounds = 4, 500
	var busy sync.WaitGroup
	for i := range workers {
		busy.Go(func() {
			pkts, frames := batchOf(ipv4(100, 1)), []dataplane.Frame{{Data: make([]byte, 40), Path: path}}
			for range rounds {
				tap.Clear(i, true, pkts)
				tap.Sent(i, frames)
				tap.Received(dataplane.MaxWorkers, path.Underlay, dataplane.Train{Data: frames[0].Data, Remote: path.Remote})
			}
		})
	}
	busy.Wait()
	got := make(chan []captured)
	go func() {
		file, _ := io.ReadAll(r) // of a pipe that is closed without an error
		got <- readBack(t, file)
	}()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	_ = out.Close()
	n, s := len(<-got), w.Stats()
	if s.Captured+s.Dropped != 3*workers*rounds || uint64(n) != s.Captured || s.Written != s.Captured || s.Dropped == 0 {
		t.Errorf("%d packets in the file, %+v", n, s)
	}
}

func TestCapturedTunnelAllocatesNothing(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	w := NewWriter(io.Discard, Options{})
	defer w.Close()
	tap := TapTunnel("b", Sides{Clear: true, Sealed: true}, w)
	path := &dataplane.Path{Underlay: &fakeUnderlay{local: netip.MustParseAddrPort("192.0.2.1:0")}, Remote: netip.MustParseAddrPort("192.0.2.2:0")}
	pkts, frames := batchOf(ipv4(100, 1)), []dataplane.Frame{{Data: make([]byte, 40), Path: path}}
	n := testing.AllocsPerRun(200, func() {
		tap.Clear(0, true, pkts)
		tap.Sent(0, frames)
		tap.Received(0, path.Underlay, dataplane.Train{Data: frames[0].Data, Remote: path.Remote})
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
