package warren

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/warrenvpn/warren/esp"
)

func (k *checker) tunnel(path keyPath, t *TunnelConfig) {
	k.domain(path, t)
	k.addresses(path.to("addresses"), t.Addresses)
	k.mtu(path.to("mtu"), t.MTU, t.Addresses)
	if t.MSSClamp != 0 && t.MSSClamp != MSSClampAuto {
		k.mtu(path.to("mss_clamp"), t.MSSClamp, nil)
	}
	seen := map[netip.Prefix]bool{}
	for i, r := range t.Routes {
		at := path.to("routes").index(i)
		if k.prefix(at, r.Prefix) && seen[r.Prefix] {
			k.fail(at, "", "%v is there twice", r.Prefix)
		}
		seen[r.Prefix] = true
		k.between(at.to("weight"), r.Weight, 0, maxWeight)
	}
	if t.BGP != nil {
		k.tunnelBGP(path.to("bgp"), t)
	}
	k.kinds(path, t)
}

// domain sees that the tunnel belongs to one vrf.
func (k *checker) domain(path keyPath, t *TunnelConfig) {
	names := oneOf(slices.Sorted(maps.Keys(k.vrfs)))
	switch {
	case t.Port != nil && t.VRF != "":
		k.fail(path.to("vrf"), "one of the two", "a tunnel with a port of its own has a vrf of its own")
	case t.Port != nil:
		if t.Port.TUN == nil && t.Port.Netstack == nil {
			k.fail(path.to("port"), "tun: NAME or netstack: {addresses: [...]}", "the port is of no kind")
		}
		if k.vrfs[t.Name] {
			k.fail(path.to("port"), "another name for one of them", "the port makes a vrf %q, which there is already", t.Name)
		}
		k.port(path.to("port"), t.Port)
	case t.VRF != "":
		if !k.vrfs[t.VRF] {
			k.fail(path.to("vrf"), names, "there is no vrf %q", t.VRF)
		}
	case len(k.cfg.VRFs) == 0:
		k.fail(path.to("vrf"), "a vrf under vrfs:, or a port of the tunnel's own", "there is no vrf for the tunnel")
	case len(k.cfg.VRFs) > 1:
		k.fail(path.to("vrf"), "vrf: "+names, "there are %d vrfs, and the tunnel names none", len(k.cfg.VRFs))
	}
}

func (k *checker) ipsec(path keyPath, p *IPsecConfig) {
	switch {
	case p.Remote.IsValid():
		k.ends(path, p)
	case !p.RemoteAny:
		k.fail(path.to("remote"), "remote: ADDRESS, or any with psk: or auth:", "the peer's address is missing")
	case p.Static != nil:
		k.fail(path.to("remote"), "remote: ADDRESS", "keys given by hand are for one peer")
	}
	k.between(path.to("replay_window"), p.ReplayWindow, 0, esp.MaxReplayWindow)
	if p.Keepalive < 0 {
		k.fail(path.to("nat_keepalive"), "0 for never, or a time such as 20s", "%v is in the past", p.Keepalive)
	}
	if p.Encap < EncapAuto || p.Encap > EncapNever {
		k.fail(path.to("encap"), "auto, always or never", "%d is none", p.Encap)
	}
	if p.DF < DFCopy || p.DF > DFClear {
		k.fail(path.to("df"), "copy, set or clear", "%d is none", p.DF)
	}
	k.selectors(path.to("child", "local_ts"), p.Child.LocalTS)
	k.selectors(path.to("child", "remote_ts"), p.Child.RemoteTS)
	switch {
	case p.Static != nil && p.IKE != nil:
		k.fail(path.to("static"), "one of the two", "keys are given by hand and negotiated")
	case p.Static != nil:
		k.static(path.to("static"), p.Static)
	case p.IKE != nil:
		k.ike(path, p)
	default:
		k.fail(path, "psk: SECRET, auth: {...}, or static: {...}", "the tunnel has no keys")
	}
}

// ends sees that the peer can be reached from an underlay address.
func (k *checker) ends(path keyPath, p *IPsecConfig) {
	k.addr(path.to("remote"), p.Remote)
	if p.Remote.IsUnspecified() {
		k.fail(path.to("remote"), "the peer's address", "%v is no address of a host", p.Remote)
		return
	}
	own := k.cfg.Underlay.Addresses
	if slices.Contains(own, netip.Addr{}) {
		return // a mistake there, which has been told
	}
	if slices.Contains(own, p.Remote) && k.ownPort(p) {
		k.fail(path.to("remote"), "the peer's address", "%v is our own address, with our own port", p.Remote)
		return
	}
	sameFamily := func(a netip.Addr) bool { return a.Is4() == p.Remote.Is4() }
	switch {
	case p.Local.IsValid() && !slices.Contains(own, p.Local):
		k.fail(path.to("local"), "one of underlay.addresses", "%v is none of them", p.Local)
	case p.Local.IsValid() && !sameFamily(p.Local):
		k.fail(path.to("local"), "an address of the peer's family", "%v cannot reach %v", p.Local, p.Remote)
	case len(own) > 0 && !slices.ContainsFunc(own, sameFamily):
		k.fail(path.to("remote"), "an address of the same family among underlay.addresses", "%v cannot be reached from any of %v", p.Remote, own)
	}
}

// ownPort says whether the port of the peer that we would begin with is one of ours.
func (k *checker) ownPort(p *IPsecConfig) bool {
	u := &k.cfg.Underlay
	data := int(cmp.Or(u.UDPPort, DefaultUDPPort))
	switch {
	case p.Static != nil:
		return p.Encap == EncapNever || int(cmp.Or(p.RemotePort, DefaultUDPPort)) == data
	case p.RemotePort != 0:
		return int(p.RemotePort) == data || int(p.RemotePort) == cmp.Or(u.IKEPort, DefaultIKEPort)
	}
	return cmp.Or(u.IKEPort, DefaultIKEPort) == DefaultIKEPort || data == DefaultUDPPort
}

func (k *checker) selectors(path keyPath, ts []SelectorConfig) {
	for i, s := range ts {
		at := path.index(i)
		k.prefix(at, s.Prefix)
		ported := s.FromPort != 0 || s.ToPort != 0
		switch {
		case s.FromPort > s.ToPort:
			k.fail(at, fmt.Sprintf("%d-%d", s.ToPort, s.FromPort), "ports %d to %d are no range", s.FromPort, s.ToPort)
		case ported && !slices.Contains(withPorts, s.Proto):
			k.fail(at, "tcp, udp, dccp, sctp or udplite", "protocol %d has no ports", s.Proto)
		}
	}
}

var withPorts = []uint8{protocols["tcp"], protocols["udp"], protocols["dccp"], protocols["sctp"], protocols["udplite"]}

func (k *checker) static(path keyPath, s *StaticConfig) {
	var suite esp.Suite
	if s.Suite == "" {
		k.fail(path.to("esp"), "esp: SUITE, such as aes128gcm16", "the suite is missing")
	} else {
		var err error
		if suite, err = esp.ParseSuite(s.Suite); err != nil {
			k.fail(path.to("esp"), "", "%v", err)
		}
	}
	k.sa(path.to("out"), &s.Out, suite)
	k.sa(path.to("in"), &s.In, suite)
	if s.In.SPI >= minSPI {
		at := path.to("in", "spi")
		if other := k.spis[s.In.SPI]; other != nil {
			k.fail(at, "an SPI of its own", "SPI %#x is that of %v already", s.In.SPI, other)
		}
		k.spis[s.In.SPI] = at
	}
	if len(s.Out.Key) > 0 && bytes.Equal(s.Out.Key, s.In.Key) {
		k.fail(path.to("in", "key"), "a key for each direction", "the two directions must not share a key")
	} else if suite.AEAD() {
		k.ownKey(path.to("out", "key"), s.Out.Key)
		k.ownKey(path.to("in", "key"), s.In.Key)
	}
	k.byHand(path, s, suite)
}

// minSPI is the first SPI that is not reserved (RFC 4303 section 2.1).
const minSPI = 256

func (k *checker) sa(path keyPath, sa *SAConfig, suite esp.Suite) {
	const want = "spi: a number from 256 up, such as 0xc1890b6e"
	switch {
	case sa.SPI == 0:
		k.fail(path.to("spi"), want, "the SPI is missing")
	case sa.SPI < minSPI:
		k.fail(path.to("spi"), want, "SPI %d is reserved", sa.SPI)
	}
	switch {
	case len(sa.Key) == 0:
		k.fail(path.to("key"), `key: "0x..." or key_file: PATH`, "the key is missing")
	case suite != 0 && len(sa.Key) != suite.KeyLen():
		k.fail(path.to("key"), fmt.Sprintf("%d: %s", suite.KeyLen(), suite.KeyParts()), "the key has %d bytes", len(sa.Key))
	}
}

// ownKey sees that an AEAD's key is used once: nonces repeat where two SAs count under the same key (RFC 4106 section 10).
func (k *checker) ownKey(path keyPath, key Secret) {
	if len(key) == 0 {
		return
	}
	if other := k.keys[string(key)]; other != nil {
		k.fail(path, "a key of its own", "the key is that of %v already", other)
	}
	k.keys[string(key)] = path
}

// byHand says what one gives up with keys given by hand.
func (k *checker) byHand(path keyPath, s *StaticConfig, suite esp.Suite) {
	at := path.to("state_file")
	if s.StateFile != "" {
		if other := k.states[s.StateFile]; other != nil {
			k.fail(at, "a file of its own", "%s is that of %v already", s.StateFile, other)
		}
		k.states[s.StateFile] = at
	}
	if suite == 0 {
		return
	}
	k.warn(path, "keys given by hand lose replay protection over restarts: packets recorded before one can be replayed after it")
	switch {
	case suite.AEAD() && s.StateFile == "":
		k.warn(path, "without a state_file, nonces repeat under the key if the clock is set back over a restart")
	case !suite.AEAD() && s.StateFile != "":
		k.fail(at, "no state_file", "%v has random IVs and needs no state", suite)
	}
}
