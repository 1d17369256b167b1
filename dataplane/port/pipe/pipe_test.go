package pipe

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
)

func pkt(n int, fill byte) []byte { return bytes.Repeat([]byte{fill}, n) }

// batchOf returns packets as a worker would hand them to a writer.
func batchOf(t *testing.T, data ...[]byte) []packet.Packet {
	t.Helper()
	b := packet.NewBatch(1 << 20)
	for _, d := range data {
		b.Commit(0, copy(b.Space(len(d)), d))
	}
	return b.Packets()
}

func TestReadTakesWhatIsThereInOrder(t *testing.T) {
	p := New(Config{Name: "a", MTU: 1400, Queues: 2})
	defer p.Close()
	if p.Name() != "a" || p.MTU() != 1400 || len(p.Readers()) != 2 {
		t.Fatalf("name %q, MTU %d, %d readers", p.Name(), p.MTU(), len(p.Readers()))
	}
	off := wire.Offload{GSO: wire.GSOTCP4, NeedsCsum: true, Size: 100, HdrLen: 40, CsumStart: 20, CsumOffset: 16}
	if err := p.Inject(pkt(100, 1), pkt(200, 2)); err != nil {
		t.Fatal(err)
	}
	if err := p.InjectTo(0, Packet{Data: pkt(3000, 3), Offload: off}); err != nil {
		t.Fatal(err)
	}
	if err := p.InjectTo(1, Packet{Data: pkt(50, 4)}); err != nil {
		t.Fatal(err)
	}
	b := packet.NewBatch(1 << 17)
	if err := p.Readers()[0].Read(b); err != nil {
		t.Fatal(err)
	}
	got := b.Packets()
	if len(got) != 3 {
		t.Fatalf("%d packets, want 3", len(got))
	}
	for i, want := range [][]byte{pkt(100, 1), pkt(200, 2), pkt(3000, 3)} {
		if !bytes.Equal(got[i].Bytes(), want) {
			t.Errorf("packet %d differs", i)
		}
		if got[i].Head() < packet.HeadRoom || got[i].Tail() < packet.TailRoom {
			t.Errorf("packet %d has room %d and %d", i, got[i].Head(), got[i].Tail())
		}
	}
	if got[0].Offload != (wire.Offload{}) || got[2].Offload != off {
		t.Errorf("offloads %+v, %+v", got[0].Offload, got[2].Offload)
	}
	if err := p.Readers()[1].Read(b); err != nil || b.Len() != 1 || !bytes.Equal(b.Packets()[0].Bytes(), pkt(50, 4)) {
		t.Errorf("second queue: %v, %d packets", err, b.Len())
	}
}

func TestReadKeepsWhatFindsNoRoom(t *testing.T) {
	p := New(Config{})
	defer p.Close()
	p.Inject(pkt(1000, 1), pkt(1000, 2), pkt(1000, 3))
	b := packet.NewBatch(2000) // one packet and its room
	r := p.Readers()[0]
	for i, want := range []byte{1, 2, 3} {
		if err := r.Read(b); err != nil {
			t.Fatal(err)
		}
		if b.Len() != 1 {
			t.Fatalf("read %d has %d packets, want one at a time", i, b.Len())
		}
		if got := b.Packets()[0].Bytes()[0]; got != want {
			t.Fatalf("read %d: packet %d, want %d", i, got, want)
		}
	}
	p.Inject(pkt(5000, 4))
	if err := r.Read(b); err == nil || errors.Is(err, dataplane.ErrClosed) {
		t.Errorf("a packet larger than the arena: %v", err)
	}
}

func TestWriteCopiesAndRefuses(t *testing.T) {
	p := New(Config{Depth: 2})
	w := p.NewWriter()
	pkts := batchOf(t, pkt(10, 1), pkt(20, 2), pkt(30, 3), pkt(40, 4))
	pkts[1].Drop = packet.NoRoute
	w.Write(pkts)
	want := []packet.Reason{packet.None, packet.NoRoute, packet.None, packet.PortFull}
	for i := range pkts {
		if pkts[i].Drop != want[i] {
			t.Errorf("packet %d: drop %v, want %v", i, pkts[i].Drop, want[i])
		}
		clear(pkts[i].Buf) // the caller's again
	}
	ctx := t.Context()
	for _, want := range [][]byte{pkt(10, 1), pkt(30, 3)} {
		if got, err := p.Next(ctx); err != nil || !bytes.Equal(got.Data, want) {
			t.Errorf("next: % x, %v; want % x", got.Data, err, want)
		}
	}
	w.Write(batchOf(t, pkt(10, 5)))
	if n := p.Drain(); n != 1 {
		t.Errorf("drained %d", n)
	}
	w.Write(batchOf(t, pkt(10, 6)))
	p.Close()
	p.Close()
	late := batchOf(t, pkt(10, 7))
	w.Write(late)
	if late[0].Drop != packet.PortDown {
		t.Errorf("write to a closed port: %v", late[0].Drop)
	}
	if got, err := p.Next(ctx); err != nil || got.Data[0] != 6 {
		t.Errorf("what was written before the close: %v %v", got, err)
	}
	if _, err := p.Next(ctx); !errors.Is(err, dataplane.ErrClosed) {
		t.Errorf("next on a closed port: %v", err)
	}
}

func TestCloseAndContextWake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{Queues: 3, Depth: 1})
		errs := make(chan error, 8)
		for _, r := range p.Readers()[1:] {
			go func() { errs <- r.Read(packet.NewBatch(4096)) }()
		}
		if err := p.Inject(pkt(1, 1)); err != nil {
			t.Fatal(err)
		}
		go func() { errs <- p.Inject(pkt(1, 1)) }() // full
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan error, 1)
		go func() {
			_, err := p.Next(ctx)
			got <- err
		}()
		synctest.Wait()
		if len(errs) != 0 || len(got) != 0 {
			t.Fatal("somebody did not wait")
		}
		cancel()
		if err := <-got; !errors.Is(err, context.Canceled) {
			t.Errorf("next: %v", err)
		}
		p.Close()
		for range 3 {
			if err := <-errs; !errors.Is(err, dataplane.ErrClosed) {
				t.Errorf("woken with %v", err)
			}
		}
		if err := p.Inject(pkt(1, 1)); !errors.Is(err, dataplane.ErrClosed) {
			t.Errorf("inject: %v", err)
		}
	})
}

func TestInjectRefuses(t *testing.T) {
	p := New(Config{})
	defer p.Close()
	for name, bad := range map[string]Packet{
		"checksum outside": {pkt(30, 0), wire.Offload{NeedsCsum: true, CsumStart: 20, CsumOffset: 16}},
		"no size":          {pkt(90, 0), wire.Offload{GSO: wire.GSOTCP4, NeedsCsum: true, HdrLen: 40, CsumStart: 20}},
		"headers outside":  {pkt(39, 0), wire.Offload{GSO: wire.GSOTCP4, NeedsCsum: true, HdrLen: 40, Size: 1, CsumStart: 20}},
		"no checksum":      {pkt(90, 0), wire.Offload{GSO: wire.GSOTCP4, HdrLen: 40, Size: 1, CsumStart: 20}},
	} {
		if err := p.InjectTo(0, bad); !errors.Is(err, ErrOffload) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if p.Inject(nil) == nil || p.Inject(pkt(packet.MaxSize+1, 0)) == nil || p.InjectTo(1, Packet{Data: pkt(1, 1)}) == nil {
		t.Error("an empty packet, one too large or a queue that is not there was taken")
	}
}

func TestWorkerSideAllocatesNothing(t *testing.T) {
	p := New(Config{Depth: 8})
	defer p.Close()
	b := packet.NewBatch(1 << 16)
	w := p.NewWriter()
	r := p.Readers()[0]
	data := [][]byte{pkt(1400, 1), pkt(64, 2)}
	round := func() {
		if p.Inject(data...) != nil || r.Read(b) != nil {
			t.Fatal("round failed")
		}
		w.Write(b.Packets())
		p.Drain()
	}
	for range 16 {
		round()
	}
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations a round", n)
	}
}
