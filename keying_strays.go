package warren

import (
	"net/netip"
	"sync/atomic"
)

// strays brings the machine word of ESP by SPIs that nobody has, a sample of it: however much there is, one datagram each time that
// again is called.
type strays struct {
	told  chan stray  // has room for one
	taken atomic.Bool // the sample is
}

// stray is a datagram of ESP by an SPI that nobody has.
type stray struct {
	from netip.AddrPort
	spi  uint32
}

func newStrays() *strays { return &strays{told: make(chan stray, 1)} }

// tell is called by workers.
func (s *strays) tell(from netip.AddrPort, spi uint32) {
	if s.taken.Load() || !s.taken.CompareAndSwap(false, true) {
		return
	}
	select {
	case s.told <- stray{from, spi}:
	default:
	}
}

// again takes another sample.
func (s *strays) again() { s.taken.Store(false) }
