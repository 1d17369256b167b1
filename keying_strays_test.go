package warren

import (
	"net/netip"
	"testing"

	"github.com/warrenvpn/warren/internal/race"
)

// TestStraysAreSampled: of whatever comes one is told each time, without allocation, and nobody waits for it to be taken.
func TestStraysAreSampled(t *testing.T) {
	s := newStrays()
	from := netip.MustParseAddrPort("192.0.2.1:4500")
	flood := func() {
		for spi := range uint32(100) {
			s.tell(from, 1000+spi)
		}
	}
	for round := range 3 {
		flood()
		if n := len(s.told); n != 1 {
			t.Fatalf("round %d: %d told, want 1", round, n)
		}
		if round == 1 {
			s.again() // before it was taken
			flood()
		}
		if got := <-s.told; got != (stray{from, 1000}) {
			t.Errorf("round %d: told is %+v", round, got)
		}
		flood()
		if n := len(s.told); n != 0 {
			t.Errorf("round %d: %d told before again", round, n)
		}
		s.again()
	}
	if race.Enabled {
		return // the detector allocates
	}
	if n := testing.AllocsPerRun(100, func() { flood(); <-s.told; s.again() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
