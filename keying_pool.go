package warren

import (
	"fmt"
	"net/netip"

	"github.com/warrenvpn/warren/tunnel/ike"
	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// pool lends addresses to clients. A client that comes again gets the address that it had, if that is free. It belongs to the goroutine
// that owns the machine.
type pool struct {
	cfg    *PoolConfig
	taken  map[netip.Addr]bool // by others, for good
	lent   map[netip.Addr]string
	before map[string][]netip.Addr // by identity
	next   map[int]netip.Addr      // where to look on, by network
}

func newPool(cfg *PoolConfig, taken map[netip.Addr]bool) *pool {
	return &pool{cfg: cfg, taken: taken, lent: map[netip.Addr]string{}, before: map[string][]netip.Addr{}, next: map[int]netip.Addr{}}
}

// Lease implements ike.Pool: an address of each family that is asked for and that the pool has.
func (p *pool) Lease(_ string, id message.ID, asked []netip.Addr) (ike.Lease, error) {
	who := id.String()
	lease := ike.Lease{DNS: p.cfg.DNS}
	for _, want := range asked {
		a, ok := p.pick(who, want)
		if !ok {
			continue
		}
		p.lent[a] = who
		lease.Addresses = append(lease.Addresses, a)
	}
	if len(lease.Addresses) == 0 {
		return ike.Lease{}, fmt.Errorf("pool %q has no address left for %s, who asked for %v", p.cfg.Name, who, asked)
	}
	p.before[who] = lease.Addresses
	return lease, nil
}

// Release implements ike.Pool.
func (p *pool) Release(l ike.Lease) {
	for _, a := range l.Addresses {
		delete(p.lent, a)
	}
}

// pick chooses an address of the family of want: want itself, what was lent before, or the next free one.
func (p *pool) pick(who string, want netip.Addr) (netip.Addr, bool) {
	for _, a := range append([]netip.Addr{want}, p.before[who]...) {
		if a.Is4() == want.Is4() && p.free(a) {
			return a, true
		}
	}
	for i, network := range p.cfg.Addresses {
		if network.Addr().Is4() != want.Is4() {
			continue
		}
		if a, ok := p.search(i, network.Masked()); ok {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// search goes through a network from where it stopped the last time, once around.
func (p *pool) search(i int, network netip.Prefix) (netip.Addr, bool) {
	start := p.next[i]
	if !start.IsValid() {
		start = network.Addr()
	}
	for a, tries := start, 0; tries <= len(p.lent)+len(p.taken)+4; tries++ {
		if !network.Contains(a) {
			a = network.Addr()
		}
		if p.free(a) {
			p.next[i] = a.Next()
			return a, true
		}
		if a = a.Next(); a == start {
			break
		}
	}
	return netip.Addr{}, false
}

// free says whether an address is the pool's and may be lent: not a network's own, nor the broadcast address.
func (p *pool) free(a netip.Addr) bool {
	if p.taken[a] || p.lent[a] != "" {
		return false
	}
	for _, network := range p.cfg.Addresses {
		network = network.Masked()
		if !network.Contains(a) {
			continue
		}
		host := network.Addr().BitLen() - network.Bits()
		return host < 2 || a != network.Addr() && (a.Is6() || network.Contains(a.Next()))
	}
	return false
}

// taken are the addresses that ports and tunnels have.
func (s *site) taken() map[netip.Addr]bool {
	all := map[netip.Addr]bool{}
	for _, v := range s.vrfs {
		for _, p := range v.addrs {
			all[p.Addr()] = true
		}
		for _, a := range s.ownAddresses(v) {
			all[a] = true
		}
	}
	return all
}
