package esp

import (
	"testing"

	"github.com/warrenvpn/warren/internal/race"
)

// TestPacketPathDoesNotAllocate counts allocations on every branch that a packet can take.
func TestPacketPathDoesNotAllocate(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	forEachSA(t, func(t *testing.T, s Suite, esn bool) {
		const size, runs = 100, 100
		out, scratch := testOutbound(t, s, esn), NewScratch()
		none := func(what string, f func()) {
			t.Helper()
			if n := testing.AllocsPerRun(runs, f); n != 0 {
				t.Errorf("%s: %v allocations", what, n)
			}
		}
		b, dst := make([]byte, out.SealedLen(size)), make([]byte, out.SealedLen(size))
		none("Seal", func() {
			run := out.Reserve(4)
			for run.Left() > 0 {
				run.Seal(scratch, b, size, 4)
			}
			run.End()
		})
		none("SealTo", func() {
			run := out.Reserve(4)
			for run.Left() > 0 {
				run.SealTo(scratch, dst, b, size, 4)
			}
			run.End()
		})
		used := testOutbound(t, s, esn)
		used.last.Store(used.hard)
		none("Reserve, used up", func() {
			run := used.Reserve(1)
			run.End()
		})

		// AllocsPerRun calls once more, to warm up; its packets stand in one row.
		opened := func(what string, window int, packets [][]byte, want Verdict) {
			t.Helper()
			in, batch := testInbound(t, s, esn, window), new(Batch)
			if want == TooOld || want == Replayed {
				in.win.commit(5000)
				for seq := uint64(5000 - window + 1); want == Replayed && seq < 5000; seq++ {
					in.win.commit(seq)
				}
			}
			none("Open, "+what, func() {
				batch.Reset()
				for range 2 {
					batch.Add(packets[0])
					packets = packets[1:]
				}
				in.OpenBatch(scratch, batch)
				for i := range batch.Len() {
					if _, _, v := batch.Result(i); v != want {
						t.Fatalf("%s: %v, want %v", what, v, want)
					}
				}
			})
		}
		fresh := func() *Outbound { return testOutbound(t, s, esn) }
		raw := func(plain []byte) (packets [][]byte) {
			sa := fresh()
			for range 2 * (runs + 1) {
				packets = append(packets, sealRaw(t, sa, scratch, plain))
			}
			return packets
		}
		opened("good", 1024, sealedRun(t, fresh(), 2*(runs+1), size), OK)
		opened("good, no window", 0, sealedRun(t, fresh(), 2*(runs+1), size), OK)
		opened("dummy", 1024, raw(framed(nil, 59)), Dummy)
		opened("bad next header", 1024, raw(framed(innerPacket(4, 40, 0), 6)), BadNextHeader)
		wrong := framed(innerPacket(4, 40, 0), 4)
		wrong[40] ^= 1
		opened("bad padding", 1024, raw(wrong), BadPadding)
		late := fresh()
		late.last.Store(4000)
		opened("replayed", 1024, sealedRun(t, late, 2*(runs+1), size), Replayed)
		if !esn { // with ESN such a number means the next subspace
			opened("too old", 64, sealedRun(t, fresh(), 2*(runs+1), size), TooOld)
		}
		forged := sealedRun(t, fresh(), 2*(runs+1), size)
		for _, p := range forged {
			p[len(p)-1] ^= 1
		}
		opened("bad ICV", 1024, forged, BadICV)
		for i := range forged {
			forged[i] = forged[i][:7]
		}
		opened("too short", 1024, forged, TooShort)
	})

	var table Table[*Inbound]
	table.Insert(testSPI, testInbound(t, AES128GCM16, false, 0))
	if n := testing.AllocsPerRun(100, func() {
		table.Lookup(testSPI)
		table.Lookup(testSPI + 1)
	}); n != 0 {
		t.Errorf("Lookup: %v allocations", n)
	}
}
