package warren

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/capture"
	"github.com/warrenvpn/warren/dataplane/underlay/udp"
	"github.com/warrenvpn/warren/routing/kernel"
	"github.com/warrenvpn/warren/routing/route"
	"github.com/warrenvpn/warren/tunnel/ipsec"
	"github.com/warrenvpn/warren/tunnel/wireguard"
)

// site is a configuration come to life: what one Run has opened.
type site struct {
	// cfg is what it was built after. What Apply changes since is in the parts that it made of it.
	cfg     *Config
	log     *slog.Logger
	tap     *capture.Writer
	plane   *dataplane.Plane
	gateway *ipsec.Gateway
	queues  int
	started time.Time
	// leaving is closed when the site begins to leave.
	leaving chan struct{}

	// changing is held by who applies another configuration, and guards part, which begins a part of a site that runs: nil before
	// and when it leaves. begun is closed when it runs.
	changing sync.Mutex
	part     func(run func(context.Context) error)
	begun    chan struct{}
	// remembered are tunnels that are gone and that the machine of IKE could not be told to forget: of whoever holds changing.
	remembered []*tunnel

	// mu guards what the parts of run tell, and while the site runs kernels, tunnels, templates and wireguard.
	mu sync.Mutex

	underlays []dataplane.Underlay
	kernels   []*kernelTable
	policies  []kernel.PolicyRouting
	vrfs      []*vrf
	// tunnels change when clients come and go, and with the configuration. templates are what clients are made after.
	tunnels, templates []*tunnel
	// keying is IKE, nil where no tunnel wants it.
	keying *keying
	// inherited is what the engine before has left, nil for nothing. handing is closed when this one leaves for another, left when it has.
	inherited     *Legacy
	handing, left chan struct{}
	// forwards join sockets of the host with the stacks.
	forwards forwards
	// wireguard are the devices, each a key and a port.
	wireguard []*wgDevice
	// export writes keys for Wireshark, nil for nobody.
	export *keyExport
	// senders are those of the control side, for keepalives.
	senders map[dataplane.Underlay]dataplane.Sender
}

// tunnel is one tunnel of the site.
type tunnel struct {
	cfg *TunnelConfig
	// routing is cfg, or a later one that has other routes, another neighbour or other settings of the peer: of whoever holds
	// site.changing.
	routing *TunnelConfig
	index   uint32
	vrf     *vrf
	// sealer is what the plane has of it: one of the two behind it, the other is nil.
	sealer
	ipsec *ipsec.Tunnel
	peer  *wireguard.Peer
	// device has the peer. It watches it, and keeps here what it knows for that.
	device  *wgDevice
	watched peerWatch
	// endpoint is where the peer is expected, if that was changed since cfg.
	endpoint atomic.Pointer[EndpointConfig]
	iv       ivKeeper
	// via is where routes into the tunnel lead; the others offer them: what is configured, the other ends of its pairs, what
	// its selectors cover.
	via                                   *route.Via
	static, connected, selectors, allowed *route.Peer
	// link leads to the other ends of its pairs: the same way, but one that stays while the peer seems dead, since by it we
	// hear that it is back.
	link *route.Via
	// troubles are the reasons for which nothing is to be routed into the tunnel; mu guards them.
	mu       sync.Mutex
	troubles map[string]bool
	// lastError is why the last IKE SA or attempt at one ended, "" since the peer is authenticated; mu guards it.
	lastError string
	// client is who the peer is, where the tunnel was made for one that came by itself.
	client string
}

// sealer is a tunnel of either kind.
type sealer interface {
	dataplane.Tunnel
	Path() *dataplane.Path
	InnerMTU() int
	Close()
}

// maxAutoWorkers bounds how many queues each port and underlay gets unless it is configured.
const maxAutoWorkers = 8

// build opens everything that a configuration names, in the order in which packets need it: routes come last, so that
// until all stands every packet is dropped. Nothing stays open if it fails.
func build(e *Engine) (_ *site, err error) {
	s := newSite(e)
	defer func() {
		if err != nil {
			s.forwards.leave()
			err = errors.Join(err, s.plane.Close())
			s.closeKernels()
			s.release()
		}
	}()
	for _, step := range []func(*Engine) error{
		s.openOutside,
		s.openVRFs,
		s.openTunnels,
		s.openControl,
		s.openRoutes,
	} {
		if err := step(e); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// newSite is a site with nothing open yet.
func newSite(e *Engine) *site {
	cfg, log := e.cfg, e.log
	s := &site{cfg: cfg, log: log, tap: e.tap, queues: cfg.Workers, senders: map[dataplane.Underlay]dataplane.Sender{}, begun: make(chan struct{}), leaving: make(chan struct{}), started: time.Now()}
	s.inherited = e.inherited
	if s.queues == 0 {
		s.queues = min(maxAutoWorkers, max(1, runtime.GOMAXPROCS(0)/2))
	}
	s.plane = dataplane.New(dataplane.Options{Logger: log, Workers: s.workers()})
	gateway := ipsec.Options{Logger: log, Peers: s.plane.Peers()}
	if cfg.wantsIKE() {
		s.keying = newKeying(s)
		gateway.Control = func(u dataplane.Underlay, from netip.AddrPort, b []byte) bool {
			return s.keying.receive(u, from, true, b)
		}
		gateway.Stray = s.keying.strays.tell
	}
	s.gateway = ipsec.NewGateway(gateway)
	return s
}

// openOutside opens what packets leave the host by, and come by, with the protection of the kernel's table before that.
func (s *site) openOutside(e *Engine) error {
	if err := s.openKeyExport(); err != nil {
		return err
	}
	if err := s.openKernel(); err != nil {
		return err
	}
	if err := s.openUnderlays(e.network); err != nil || s.keying == nil {
		return err
	}
	if err := s.keying.openSockets(e.network); err != nil {
		return err
	}
	return s.addUnderlay(s.gateway.Early(), s.gateway)
}

// openVRFs opens the routing domains and their ports.
func (s *site) openVRFs(*Engine) error {
	for i := range s.cfg.VRFs {
		if err := s.openVRF(&s.cfg.VRFs[i]); err != nil {
			return err
		}
	}
	return nil
}

// openTunnels makes the tunnels, WireGuard's on their devices.
func (s *site) openTunnels(e *Engine) error {
	if err := s.openWireGuard(e); err != nil {
		return err
	}
	for i := range s.cfg.Tunnels {
		if err := s.openTunnel(&s.cfg.Tunnels[i]); err != nil {
			return fmt.Errorf("tunnel %q: %w", s.cfg.Tunnels[i].Name, err)
		}
	}
	return nil
}

// openControl makes who talks to neighbours and peers, and the stacks that they and forwards need.
func (s *site) openControl(*Engine) error {
	if err := s.openStacks(); err != nil {
		return err
	}
	if err := s.openBGP(); err != nil {
		return err
	}
	if s.keying != nil {
		if err := s.keying.open(); err != nil {
			return err
		}
	}
	s.fitPorts()
	return s.openForwards()
}

// openRoutes lets packets find their way.
func (s *site) openRoutes(*Engine) error {
	if err := s.joinKernel(); err != nil {
		return err
	}
	if err := s.enterRoutes(); err != nil {
		return err
	}
	s.inherit()
	return s.openPolicyRouting()
}

// workers is how many workers the site needs: a queue of each port and of each underlay.
func (s *site) workers() int {
	addresses := max(2, len(s.cfg.Underlay.Addresses))
	n := 2*addresses*s.queues + len(s.cfg.VRFs) + 1 // a stack each, and who injects
	if s.cfg.wantsIKE() {
		n += addresses + 1 // what comes early
	}
	n += addresses * s.queues * len(s.cfg.wireGuardKeys())
	for i := range s.cfg.VRFs {
		if t := s.cfg.VRFs[i].Port.TUN; t != nil && t.Queues > 0 {
			n += t.Queues
		} else {
			n += s.queues
		}
	}
	return min(n, dataplane.MaxWorkers)
}

// openUnderlays opens one underlay for each address, UDP and where a tunnel wants it raw. Without addresses there is one
// for each family that the tunnels' peers have.
func (s *site) openUnderlays(network Network) error {
	u := &s.cfg.Underlay
	if !slices.ContainsFunc(s.cfg.Tunnels, func(t TunnelConfig) bool { return t.IPsec != nil }) {
		return nil
	}
	addrs := slices.Clone(u.Addresses)
	if len(addrs) == 0 {
		addrs = s.anyAddresses()
	}
	for _, a := range addrs {
		under, err := s.openUDP(network, netip.AddrPortFrom(a, u.UDPPort), u.Mark)
		if err != nil {
			return err
		}
		if err := s.addUnderlay(under, s.gateway); err != nil {
			return err
		}
		s.underlays = append(s.underlays, under)
	}
	return s.openRaw(network, addrs)
}

// openUDP opens a UDP underlay with a queue for each worker.
func (s *site) openUDP(network Network, local netip.AddrPort, mark uint32) (under dataplane.Underlay, err error) {
	if network != nil {
		under, err = network.Underlay(local, s.queues)
	} else {
		u := &s.cfg.Underlay
		under, err = udp.Open(udp.Config{Local: local, Device: u.Device, Mark: mark, NetNS: u.NetNS, Queues: s.queues, Logger: s.log})
	}
	if err == nil && s.tap != nil {
		under = capture.TapUnderlay(under, s.tap)
	}
	return under, err
}

// addUnderlay gives an underlay to the plane. It is closed if that fails.
func (s *site) addUnderlay(u dataplane.Underlay, o dataplane.Opener) error {
	if err := s.plane.AddUnderlay(u, o); err != nil {
		return errors.Join(err, u.Close())
	}
	return nil
}

// allTunnels are the tunnels of this moment.
func (s *site) allTunnels() []*tunnel {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.tunnels)
}

// allTemplates are the templates of this moment.
func (s *site) allTemplates() []*tunnel {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.templates)
}

// devices are WireGuard's of this moment.
func (s *site) devices() []*wgDevice {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.wireguard)
}

// add takes up a tunnel that stands.
func (s *site) add(t *tunnel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tunnels = append(slices.Clip(s.tunnels), t)
}

// anyAddresses returns the unspecified address of each family that a peer has.
func (s *site) anyAddresses() []netip.Addr {
	var v4, v6 bool
	for i := range s.cfg.Tunnels {
		if p := s.cfg.Tunnels[i].IPsec; p != nil {
			v4, v6 = v4 || !p.Remote.Is6(), v6 || !p.Remote.Is4() // a peer that may be anywhere may be of both
		}
	}
	var addrs []netip.Addr
	if v4 {
		addrs = append(addrs, netip.IPv4Unspecified())
	}
	if v6 {
		addrs = append(addrs, netip.IPv6Unspecified())
	}
	return addrs
}

// fitPorts gives ports whose MTU was not configured the least of their tunnels'.
func (s *site) fitPorts() {
	for _, v := range s.vrfs {
		port := v.cfg.Port
		if v.port == nil || port.TUN != nil && port.TUN.MTU != 0 || port.Netstack != nil && port.Netstack.MTU != 0 {
			continue
		}
		mtu := 0
		for _, t := range s.allTunnels() {
			if t.vrf == v && (mtu == 0 || t.InnerMTU() < mtu) {
				mtu = t.InnerMTU()
			}
		}
		if mtu == 0 || mtu == v.port.MTU() {
			continue
		}
		if err := v.port.(interface{ SetMTU(int) error }).SetMTU(mtu); err != nil {
			s.log.Warn("MTU of the tunnels does not suit the port", "vrf", v.name, "mtu", mtu, "error", err)
		}
	}
}

// release forgets the tunnels, when no worker uses them any more.
func (s *site) release() {
	for _, d := range s.devices() {
		if d.uapi != nil {
			if err := d.uapi.Close(); err != nil {
				s.log.Warn("socket for wg is not removed", "error", err)
			}
		}
	}
	for _, t := range s.allTunnels() {
		t.Close()
	}
}
