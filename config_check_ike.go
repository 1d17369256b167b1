package warren

import (
	"net/netip"
	"slices"

	"github.com/warrenvpn/warren/tunnel/ike/auth"
	"github.com/warrenvpn/warren/tunnel/ike/proposal"
)

// ike checks how a tunnel negotiates its keys.
func (k *checker) ike(path keyPath, p *IPsecConfig) {
	c := p.IKE
	if _, err := proposal.ParseIKE(orElse(c.Proposals, "default")); err != nil {
		k.fail(path.to("proposals"), "", "%v", err)
	}
	k.credentials(path, p)
	if c.Pool != "" && !slices.ContainsFunc(k.cfg.Pools, func(o PoolConfig) bool { return o.Name == c.Pool }) {
		k.fail(path.to("pool"), "a name among pools:", "there is no pool %q", c.Pool)
	}
	if c.RekeyTime != 0 && c.OverTime <= 0 {
		k.fail(path.to("over_time"), "a time", "the IKE SA would end when it is to be rekeyed")
	}
	for _, t := range []struct {
		key   string
		value int64
	}{{"rekey_time", int64(c.RekeyTime)}, {"over_time", int64(c.OverTime)}, {"rand_time", int64(c.RandTime)}, {"reauth_time", int64(c.ReauthTime)},
		{"dpd_delay", int64(c.DPDDelay)}} {
		if t.value < 0 {
			k.fail(path.to(t.key), "0 for never, or a time", "it is in the past")
		}
	}
	if len(c.Children) == 0 {
		k.fail(path.to("children"), "children: {NAME: {...}}", "there is no child SA")
	}
	names := map[string]bool{}
	for i := range c.Children {
		child := &c.Children[i]
		at := path.to("child")
		if len(c.Children) > 1 {
			at = path.to("children", child.Name)
		}
		k.name(at, "child", child.Name, names)
		k.ikeChild(at, path, p, child)
	}
}

// credentials sees that both sides can prove themselves, and that the files are there.
func (k *checker) credentials(path keyPath, p *IPsecConfig) {
	c := p.IKE
	a := &c.Auth
	local := a.Cert != "" || a.Key != ""
	switch {
	case c.PSK == nil && !local:
		k.fail(path.to("psk"), "psk: SECRET, psk_file: FILE, or auth: {local: {cert, key}, remote: {ca, id}}", "the tunnel has nothing to prove itself with")
		return
	case c.PSK == nil && !a.verifies():
		k.fail(path.to("auth", "remote"), "ca: FILE, cert: FILE or key: FILE", "the peer has nothing to prove itself with")
		return
	case a.Cert != "" && a.Key == "":
		k.fail(path.to("auth", "local", "key"), "key: FILE", "the certificate has no private key")
		return
	case c.PSK != nil && local && a.verifies():
		k.fail(path.to("psk"), "one of the two", "both sides prove themselves with keys, and there is a secret too")
		return
	case len(a.CA) > 0 && c.RemoteID == "":
		k.fail(path.to("auth", "remote", "id"), `id: NAME, a pattern as "*.example.org", or any for everybody whom the CA vouches for`, "it is not said who the peer is")
		return
	}
	addr := k.localOf(p)
	if !addr.IsValid() {
		addr = netip.IPv4Unspecified()
		if c.LocalID == "" && a.Cert == "" {
			k.fail(path.to("local_id"), "local_id: NAME, or underlay: {addresses: [ADDRESS]}", "it is not known which address is ours, which would be our identity")
			return
		}
	}
	if !k.authFiles(path.to("auth"), a) {
		return
	}
	if _, err := c.credentials(addr); err != nil {
		k.fail(path.to("auth"), "", "%v", err)
	}
}

// authFiles sees that the files are there and have what they should, each at its place.
func (k *checker) authFiles(path keyPath, a *AuthConfig) bool {
	before := len(k.mistakes)
	try := func(path keyPath, name string, load func(string) error) {
		if name == "" {
			return
		}
		if err := load(name); err != nil {
			k.fail(path, "", "%v", err)
		}
	}
	each := func(path keyPath, names []string, load func(string) error) {
		for i, name := range names {
			try(path.index(i), name, load)
		}
	}
	certificates := func(name string) error { _, err := auth.LoadCertificates(name); return err }
	local, remote := path.to("local"), path.to("remote")
	try(local.to("cert"), a.Cert, certificates)
	try(local.to("key"), a.Key, func(name string) error {
		if openToAll(name) {
			k.warn(local.to("key"), "everybody may read %s: want chmod 600", name)
		}
		_, err := auth.LoadPrivateKey(name)
		return err
	})
	each(local.to("intermediates"), a.Intermediates, certificates)
	each(remote.to("ca"), a.CA, certificates)
	each(remote.to("crl"), a.CRL, func(name string) error { _, err := auth.LoadCRLs(name); return err })
	each(remote.to("cert"), a.RemoteCert, certificates)
	each(remote.to("key"), a.RemoteKey, func(name string) error { _, err := auth.LoadPublicKey(name); return err })
	return len(k.mistakes) == before
}

// localOf is the address that a tunnel leaves from, as far as the configuration says.
func (k *checker) localOf(p *IPsecConfig) netip.Addr { return k.cfg.localOf(p) }

func (c *Config) localOf(p *IPsecConfig) netip.Addr {
	if p.Local.IsValid() {
		return p.Local
	}
	for _, a := range c.Underlay.Addresses {
		if !p.Remote.IsValid() || a.Is4() == p.Remote.Is4() {
			return a
		}
	}
	return netip.Addr{}
}

// ikeChild checks a child SA; in the tunnel's own mapping what its children share.
func (k *checker) ikeChild(path, tunnel keyPath, p *IPsecConfig, c *IKEChildConfig) {
	k.selectors(path.to("local_ts"), c.LocalTS)
	k.selectors(path.to("remote_ts"), c.RemoteTS)
	_, warnings, err := proposal.ParseESP(orElse(c.Proposals, "default"))
	if err != nil {
		k.fail(path.to("esp_proposals"), "", "%v", err)
	}
	for _, w := range warnings {
		k.warn(path.to("esp_proposals"), "%s", w)
	}
	if p.any() && c.StartAction != StartNone {
		k.fail(path.to("start_action"), "none", "nobody knows where any peer is")
	}
	switch {
	case c.RekeyTime < 0 || c.LifeTime < 0 || c.RandTime < 0 || c.KeepUp < 0:
		k.fail(path, "0 for never, or a time", "a time is in the past")
	case c.RekeyTime > 0 && c.LifeTime <= c.RekeyTime, c.RekeyBytes > 0 && c.LifeBytes > 0 && c.LifeBytes <= c.RekeyBytes,
		c.RekeyPackets > 0 && c.LifePackets > 0 && c.LifePackets <= c.RekeyPackets:
		k.fail(path, "a life longer than that", "the child would end before it is rekeyed")
	}
	if c.KeepUp > 0 && len(c.RemoteTS) > 0 && len(c.LocalTS) == 0 {
		return
	}
}

// ikeEngine checks how key exchange behaves with all peers.
func (k *checker) ikeEngine() {
	c := &k.cfg.IKE
	if c.RetransmitTimeout < 0 {
		k.fail(keyPath{"ike", "retransmit_timeout"}, "a time, as 2s", "it is in the past")
	}
	if c.RetransmitBase != 0 && c.RetransmitBase < 1 {
		k.fail(keyPath{"ike", "retransmit_base"}, "1 or more", "each try would come sooner than the last")
	}
	if c.RetransmitTries < 0 {
		k.fail(keyPath{"ike", "retransmit_tries"}, "1 or more", "it is negative")
	}
}

// pools checks the address pools.
func (k *checker) pools() {
	names := map[string]bool{}
	for i := range k.cfg.Pools {
		p := &k.cfg.Pools[i]
		path := keyPath{"pools", p.Name}
		k.name(path, "pool", p.Name, names)
		if len(p.Addresses) == 0 {
			k.fail(path.to("addresses"), "addresses: [NETWORK]", "the pool is empty")
		}
		for j, a := range p.Addresses {
			k.prefix(path.to("addresses").index(j), a)
		}
		for j, a := range p.DNS {
			k.addr(path.to("dns").index(j), a)
		}
	}
}
