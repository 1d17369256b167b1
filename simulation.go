package warren

import (
	"net/netip"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
)

// Simulation is a network inside the process, for WithNetwork: engines on it need no socket and no privilege. It loses nothing
// unless it is told to.
type Simulation struct{ network *sim.Network }

// NewSimulation returns a network that nobody is attached to.
func NewSimulation() *Simulation { return &Simulation{sim.New(sim.Config{})} }

// Underlay implements Network.
func (s *Simulation) Underlay(local netip.AddrPort, queues int) (dataplane.Underlay, error) {
	return s.network.Underlay(local, queues)
}

// Cut lets nothing pass between two addresses, either way, or with cut false lets it pass again.
func (s *Simulation) Cut(a, b netip.Addr, cut bool) { s.network.Cut(a, b, cut) }
