package warren

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/warrenvpn/warren/routing/route"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
	"github.com/warrenvpn/warren/tunnel/wireguard/uapi"
)

// openUAPI makes the socket that wg(8) talks to. Where nobody has asked for it, it may fail.
func (d *wgDevice) openUAPI() error {
	name := d.cfg.Interface
	if name == "" {
		name = d.deviceName()
	}
	if name == "" || name == NoInterface {
		return nil
	}
	var err error
	d.uapi, err = uapi.Listen(name, wgControl{d}, uapi.Options{Report: func(err error) { d.log.Warn("refused to wg", "error", err) }})
	if err != nil && d.cfg.Interface == "" {
		d.log.Info("wg cannot show and change the engine", "error", err)
		return nil
	}
	return err
}

// deviceName is that of the TUN device beside the peers, if there is one.
func (d *wgDevice) deviceName() string {
	v, err := d.home()
	if d.name != sharedDevice || err != nil || v.cfg.Port.TUN == nil || v.port == nil {
		return ""
	}
	return v.port.Name()
}

// home is the vrf that peers belong to which come by wg(8).
func (d *wgDevice) home() (*vrf, error) {
	if d.owner != nil {
		return d.s.vrfNamed(d.owner.VRF), nil
	}
	name := d.cfg.VRF
	if name == "" && len(d.s.vrfs) == 1 {
		return d.s.vrfs[0], nil
	}
	if v := d.s.vrfNamed(name); v != nil {
		return v, nil
	}
	return nil, errors.New("wireguard.vrf does not say which vrf new peers belong to")
}

// serveUAPI serves wg(8) until ctx ends. The protocol asks to end when the socket's file is removed; an engine does not, it has
// other things to do.
func (d *wgDevice) serveUAPI(ctx context.Context) {
	if d.uapi == nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = d.uapi.Close() })
	defer stop()
	if err := d.uapi.Serve(); err != nil && ctx.Err() == nil {
		d.log.Warn("wg can no longer talk to the engine", "error", err)
	}
}

// wgControl is a device as wg(8) sees it.
type wgControl struct{ d *wgDevice }

// Get implements uapi.Device.
func (c wgControl) Get() (uapi.State, error) {
	d := c.d
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state(func(*tunnel) bool { return true }), nil
}

// state is the device with those of its peers that are wanted. The caller holds mu.
func (d *wgDevice) state(wanted func(*tunnel) bool) uapi.State {
	s := uapi.State{PrivateKey: uapi.Key(d.key), ListenPort: d.port, FwMark: d.mark}
	for _, t := range d.peers {
		if wanted(t) {
			s.Peers = append(s.Peers, t.asPeer())
		}
	}
	slices.SortFunc(s.Peers, func(a, b uapi.PeerState) int { return slices.Compare(a.PublicKey[:], b.PublicKey[:]) })
	return s
}

// asPeer is the tunnel as wg(8) sees it.
func (t *tunnel) asPeer() uapi.PeerState {
	p := t.peer.Status()
	return uapi.PeerState{PublicKey: uapi.PublicKey(p.PublicKey), PresharedKey: uapi.Key(p.PresharedKey), Endpoint: p.Endpoint,
		PersistentKeepalive: uint16(p.PersistentKeepalive / time.Second), AllowedIPs: slices.Clone(orEverything(p.AllowedIPs)),
		LastHandshake: p.LastHandshake, RxBytes: p.ReceivedBytes, TxBytes: p.SentBytes}
}

// Set implements uapi.Device. Peers with cryptokey routing, which all have that come by wg(8), share one space of allowed
// addresses; each other peer has one of its own, a filter.
func (c wgControl) Set(change uapi.Change) error {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	return c.d.set(change)
}

// set is Set for a caller that holds mu.
func (d *wgDevice) set(change uapi.Change) error {
	exclusive := func(t *tunnel) bool { return t.cfg.WireGuard.CryptokeyRouting }
	before := d.state(exclusive)
	own := change
	own.Peers = nil
	alone := map[handshake.PublicKey][]uapi.PeerChange{}
	for _, p := range change.Peers {
		key := handshake.PublicKey(p.PublicKey)
		if t := d.peers[key]; t != nil && !exclusive(t) {
			alone[key] = append(alone[key], p)
		} else {
			own.Peers = append(own.Peers, p)
		}
	}
	after := before.Apply(own)
	if err := d.check(before, after, change.Peers); err != nil {
		return err
	}
	if err := d.settings(before, after); err != nil {
		return err
	}
	var failed []error
	for key, t := range d.peers {
		if exclusive(t) || !change.ReplacePeers && alone[key] == nil {
			continue
		}
		one := uapi.State{PrivateKey: uapi.Key(d.key), Peers: []uapi.PeerState{t.asPeer()}}
		failed = append(failed, d.change(one, one.Apply(uapi.Change{ReplacePeers: change.ReplacePeers, Peers: alone[key]}), t.vrf))
	}
	v, _ := d.home() // checked
	gone := d.allowedBy(before, v)
	failed = append(failed, d.change(before, after, v))
	d.protect(gone, d.allowedBy(after, v))
	return errors.Join(failed...)
}

// check sees that a change of some peers can be made.
func (d *wgDevice) check(before, after uapi.State, peers []uapi.PeerChange) error {
	if after.PrivateKey.IsZero() {
		return fmt.Errorf("%w: an engine needs a private key", syscall.EINVAL)
	}
	if _, err := d.home(); err != nil && len(after.Peers) > len(before.Peers) {
		return fmt.Errorf("%w: %w", syscall.EINVAL, err)
	}
	if after.FwMark != before.FwMark && after.FwMark != 0 {
		for _, p := range d.s.policies {
			if p.Mark != after.FwMark && p.Namespace == d.s.cfg.Underlay.NetNS {
				return fmt.Errorf("%w: with another mark than %d our own packets would be led into the tunnels", syscall.EINVAL, p.Mark)
			}
		}
	}
	for _, p := range peers {
		for _, a := range p.AllowedIPs {
			if a.Prefix.Addr().Is4In6() {
				return fmt.Errorf("%w: allowed address %v is IPv4 in IPv6 clothes", syscall.EINVAL, a.Prefix)
			}
		}
	}
	return nil
}

// settings changes the key, the port and the mark.
func (d *wgDevice) settings(before, after uapi.State) error {
	if after.ListenPort != before.ListenPort || after.FwMark != before.FwMark {
		if err := d.rebind(after.ListenPort, after.FwMark); err != nil {
			return err
		}
	}
	if after.PrivateKey == before.PrivateKey {
		return nil
	}
	key := handshake.PrivateKey(after.PrivateKey)
	if own := d.peers[key.Public()]; own != nil { // no peer has the device's own key: wg(8) says that it goes
		d.removePeer(own)
	}
	if err := d.device.SetPrivateKey(key); err != nil {
		return err
	}
	d.key = key
	return nil
}

// rebind moves the device to another port or mark. Where the port cannot be had everything stays as it is.
func (d *wgDevice) rebind(port uint16, mark uint32) error {
	if port != d.port && port != 0 && d.network == nil && d.s.cfg.Underlay.NetNS == "" {
		for _, u := range d.underlays {
			probe, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(u.Local().Addr(), port)))
			if err != nil {
				return err
			}
			_ = probe.Close()
		}
	}
	if err := d.closeSockets(); err != nil {
		return err
	}
	opened, err := d.open(port, mark)
	if err == nil {
		d.mark = mark
	} else {
		var again error
		if opened, again = d.open(d.port, d.mark); again != nil {
			d.log.Error("the port was lost", "port", d.port, "error", again)
		}
	}
	d.underlays = opened
	return errors.Join(err, d.use(opened))
}

// closeSockets ends the device's underlays. Its peers keep their endpoints.
func (d *wgDevice) closeSockets() (err error) {
	for _, u := range d.underlays {
		d.device.RemoveUnderlay(u)
		err = errors.Join(err, d.s.plane.RemoveUnderlay(u))
	}
	d.underlays = nil
	return err
}

// change makes of some peers what they are to be. What is new belongs to v.
func (d *wgDevice) change(before, after uapi.State, v *vrf) error {
	old := map[uapi.PublicKey]*uapi.PeerState{}
	for i := range before.Peers {
		old[before.Peers[i].PublicKey] = &before.Peers[i]
	}
	var failed []error
	names := d.names()
	for i := range after.Peers {
		p := &after.Peers[i]
		t, was := d.peers[handshake.PublicKey(p.PublicKey)], old[p.PublicKey]
		delete(old, p.PublicKey)
		if was == nil {
			failed = append(failed, d.welcome(p, v, names))
		} else {
			failed = append(failed, d.changePeer(t, was, p))
		}
	}
	for key := range old {
		d.removePeer(d.peers[handshake.PublicKey(key)])
	}
	return errors.Join(failed...)
}

// names are those that tunnels have.
func (d *wgDevice) names() map[string]bool {
	taken := map[string]bool{}
	for _, t := range d.s.allTunnels() {
		taken[t.cfg.Name] = true
	}
	return taken
}

// welcome makes the tunnel of a peer that came by wg(8), with a name that is not taken: its allowed addresses are its routes.
func (d *wgDevice) welcome(p *uapi.PeerState, v *vrf, taken map[string]bool) error {
	key := handshake.PublicKey(p.PublicKey)
	cfg := &TunnelConfig{Name: peerName(key.String(), taken), VRF: v.name, AllowedIPs: nonNil(p.AllowedIPs), WireGuard: &WireGuardPeerConfig{PublicKey: key,
		PersistentKeepalive: time.Duration(p.PersistentKeepalive) * time.Second, CryptokeyRouting: true}}
	if !p.PresharedKey.IsZero() {
		cfg.WireGuard.PresharedKey = p.PresharedKey[:]
	}
	cfg.WireGuard.Endpoint = EndpointConfig{Addr: p.Endpoint.Addr(), Port: p.Endpoint.Port()}
	t := &tunnel{cfg: cfg, routing: cfg, vrf: v, troubles: map[string]bool{}}
	if err := d.addPeer(t); err != nil {
		return fmt.Errorf("add peer %v: %w", key, err)
	}
	d.peers[key] = t
	t.allow(nil, cfg.AllowedIPs)
	d.s.mu.Lock()
	d.s.tunnels = append(slices.Clip(d.s.tunnels), t)
	d.s.mu.Unlock()
	d.log.Info("peer was added", "tunnel", cfg.Name)
	return nil
}

// nonNil tells no allowed addresses from all.
func nonNil(p []netip.Prefix) []netip.Prefix { return append([]netip.Prefix{}, p...) }

// changePeer makes one peer what it is to be. Its session stays.
func (d *wgDevice) changePeer(t *tunnel, was, is *uapi.PeerState) error {
	if is.PresharedKey != was.PresharedKey {
		t.peer.SetPresharedKey(handshake.PresharedKey(is.PresharedKey))
	}
	if is.Endpoint != was.Endpoint {
		t.peer.SetEndpoint(is.Endpoint)
	}
	if is.PersistentKeepalive != was.PersistentKeepalive {
		t.peer.SetPersistentKeepalive(time.Duration(is.PersistentKeepalive) * time.Second)
	}
	if slices.Equal(is.AllowedIPs, was.AllowedIPs) {
		return nil
	}
	allowed := nonNil(is.AllowedIPs)
	if !t.cfg.WireGuard.CryptokeyRouting && slices.Equal(allowed, everything[:]) {
		allowed = nil // no filter
	}
	if err := t.peer.SetAllowedIPs(allowed); err != nil {
		return err
	}
	if t.cfg.WireGuard.CryptokeyRouting {
		t.allow(was.AllowedIPs, is.AllowedIPs)
	}
	return nil
}

// removePeer takes a peer away, for good also where it was configured.
func (d *wgDevice) removePeer(t *tunnel) {
	delete(d.peers, t.cfg.WireGuard.PublicKey)
	for _, p := range []*route.Peer{t.allowed, t.static, t.connected, t.selectors} {
		t.vrf.router.RemovePeer(p)
	}
	d.s.mu.Lock()
	d.s.tunnels = slices.DeleteFunc(slices.Clone(d.s.tunnels), func(o *tunnel) bool { return o == t })
	d.s.mu.Unlock()
	t.peer.Close()
	d.s.plane.RemoveTunnel(t.index)
	d.log.Info("peer was removed", "tunnel", t.cfg.Name)
}
