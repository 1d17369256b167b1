package wireguard

import (
	"fmt"
	"net/netip"

	"github.com/gaissmai/bart"

	"github.com/warrenvpn/warren/dataplane/wire"
)

// SourceCheck says whether a peer may send a packet, of which at least the header was parsed. Workers call it for every packet that
// came in, concurrently; it must not block or allocate, nor keep the Info.
type SourceCheck func(*wire.Info) bool

// source is the snapshot of what a peer may send.
type source struct {
	all4, all6 bool
	allowed    *bart.Lite
	check      SourceCheck
}

// newSource returns nil where everything may come.
func newSource(allowed []netip.Prefix, check SourceCheck) (*source, error) {
	if allowed == nil && check == nil {
		return nil, nil
	}
	s := &source{all4: true, all6: true, check: check}
	if allowed == nil {
		return s, nil
	}
	s.all4, s.all6, s.allowed = false, false, new(bart.Lite)
	for _, p := range allowed {
		if !p.IsValid() || p.Addr().Is4In6() {
			return nil, fmt.Errorf("allowed address %v is no IPv4 or IPv6 prefix", p)
		}
		s.allowed.Insert(p.Masked())
		if p.Bits() == 0 {
			s.all4, s.all6 = s.all4 || p.Addr().Is4(), s.all6 || p.Addr().Is6()
		}
	}
	return s, nil
}

// mayHave says whether the peer may have the source address of a packet that came from it.
func (p *Peer) mayHave(i *wire.Info) bool {
	s := p.source.Load()
	if s == nil {
		return true
	}
	if all := i.Version == 4 && s.all4 || i.Version == 6 && s.all6; !all && !s.allowed.Contains(i.SrcAddr()) {
		return false
	}
	return s.check == nil || s.check(i)
}
