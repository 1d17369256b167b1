package warren

import (
	"math"
	"strconv"
	"strings"

	"github.com/warrenvpn/warren/tunnel/ike/auth"
)

var startActions = map[string]StartAction{"none": StartNone, "start": StartNow, "trap": StartTrap,
	"trap|start": StartTrap | StartNow, "start|trap": StartTrap | StartNow}

var endActions = map[string]EndAction{"clear": EndClear, "none": EndClear, "trap": EndTrap, "restart": EndRestart, "start": EndRestart}

// ikeEngine reads what concerns all peers, in the words of strongswan.conf(5).
func (d *decoder) ikeEngine(n *node, path keyPath, c *IKEEngineConfig) {
	d.object(n, path, "ike", fields{
		"retransmit_timeout": set(&c.RetransmitTimeout, d.duration),
		"retransmit_base":    set(&c.RetransmitBase, d.factor),
		"retransmit_tries":   set(&c.RetransmitTries, number(d, 1, 100)),
	})
}

// factor reads a number that something grows by.
func (d *decoder) factor(n *node, path keyPath) (float64, bool) {
	s, ok := d.text(n, path)
	if !ok {
		return 0, false
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v >= 1 && v <= 10) {
		d.fail(n, path, "a number from 1 to 10, as 1.8", "%q is none", s)
		return 0, false
	}
	return v, true
}

// ikeKeys are the keys of ipsec: that concern the IKE SA. ipsec is where they stand.
func (d *decoder) ikeKeys(ipsec *node, k *IKEConfig) fields {
	return fields{
		"local_id":      set(&k.LocalID, d.identity),
		"remote_id":     set(&k.RemoteID, d.identity),
		"psk":           set(&k.PSK, d.psk),
		"psk_file":      func(at *node, path keyPath) { d.pskFile(ipsec, at, path, k) },
		"auth":          func(n *node, path keyPath) { d.auth(n, path, k) },
		"proposals":     set(&k.Proposals, d.text),
		"rekey_time":    set(&k.RekeyTime, d.duration),
		"over_time":     set(&k.OverTime, d.duration),
		"rand_time":     set(&k.RandTime, d.duration),
		"reauth_time":   set(&k.ReauthTime, d.duration),
		"dpd_delay":     set(&k.DPDDelay, d.duration),
		"keyingtries":   set(&k.KeyingTries, number(d, 0, 1<<30)),
		"fragmentation": set(&k.NoFragmentation, func(n *node, path keyPath) (bool, bool) { on, ok := d.boolean(n, path); return !on, ok }),
		"pool":          set(&k.Pool, d.text),
	}
}

// childKeys are the keys of a child SA but for its selectors; in ipsec: those of shared are for all its children.
func (d *decoder) childKeys(c *IKEChildConfig, shared bool) fields {
	f := fields{
		"esp_proposals": set(&c.Proposals, d.text),
		"start_action":  set(&c.StartAction, word(d, startActions)),
		"dpd_action":    set(&c.DPDAction, word(d, endActions)),
		"close_action":  set(&c.CloseAction, word(d, endActions)),
		"keep_up":       set(&c.KeepUp, d.duration),
	}
	if shared {
		return f
	}
	f["rekey_time"] = set(&c.RekeyTime, d.duration)
	f["life_time"] = set(&c.LifeTime, d.duration)
	f["rand_time"] = set(&c.RandTime, d.duration)
	f["rekey_bytes"], f["life_bytes"], f["rand_bytes"] = set(&c.RekeyBytes, d.amount), set(&c.LifeBytes, d.amount), set(&c.RandBytes, d.amount)
	f["rekey_packets"], f["life_packets"], f["rand_packets"] = set(&c.RekeyPackets, d.amount), set(&c.LifePackets, d.amount), set(&c.RandPackets, d.amount)
	return f
}

// sharedPlaces notes where the keys of a child stand that are given in ipsec: for all of them.
func (d *decoder) sharedPlaces(ipsec, child *node, path keyPath) {
	for key := range d.childKeys(new(IKEChildConfig), true) {
		at := ipsec.entry(key)
		if at != nil && (child == nil || child.entry(key) == nil) {
			d.places[path.to(key).id()] = at
		}
	}
}

// ikeChild reads one child SA. Its life time follows from its rekey time unless it is given too.
func (d *decoder) ikeChild(n *node, path keyPath, c *IKEChildConfig) {
	f := d.childKeys(c, false)
	f["local_ts"] = listOf(d, &c.LocalTS, d.selector)
	f["remote_ts"] = listOf(d, &c.RemoteTS, d.selector)
	d.object(n, path, "tunnels.*.ipsec.child", f)
	if n.kind != mapping {
		return
	}
	if n.entry("rekey_time") != nil && n.entry("life_time") == nil {
		c.LifeTime = c.RekeyTime + c.RekeyTime/10
	}
	if n.entry("rekey_time") != nil && n.entry("rand_time") == nil {
		c.RandTime = max(0, c.LifeTime-c.RekeyTime)
	}
}

// identity reads an identity, as strongSwan writes it.
func (d *decoder) identity(n *node, path keyPath) (string, bool) {
	s, ok := d.text(n, path)
	if !ok || isAny(s) {
		return s, ok
	}
	if _, err := auth.ParseIdentity(s); err != nil {
		d.fail(n, path, "an address, a name, user@name, or a distinguished name", "%v", err)
		return "", false
	}
	return s, true
}

// psk reads a shared secret. What is wrong with it is said without showing it.
func (d *decoder) psk(n *node, path keyPath) (Secret, bool) {
	if n.kind != scalar {
		d.fail(n, path, "a secret", "%s", describe(n))
		return nil, false
	}
	if _, err := auth.ParseSecret(n.text); err != nil {
		d.fail(n, path, "", "%v", err)
		return nil, false
	}
	d.inFile(n, path)
	return Secret(n.text), true
}

func (d *decoder) pskFile(ipsec, at *node, path keyPath, k *IKEConfig) {
	secret := path[:len(path)-1].to("psk")
	d.broken[secret.id()] = true
	if ipsec.entry("psk") != nil {
		d.fail(at, path, "one of the two", "psk and psk_file are both there")
		return
	}
	name, ok := d.file(at, path)
	if !ok {
		return
	}
	data, err := d.readSecret(at, path, name)
	if err != nil {
		d.fail(at, path, "", "read the secret: %v", err)
		return
	}
	text := strings.TrimRight(string(data), "\r\n")
	if _, err := auth.ParseSecret(text); err != nil {
		d.fail(at, path, "", "in %s: %v", name, err)
		return
	}
	k.PSK = Secret(text)
	delete(d.broken, secret.id())
	d.places[secret.id()] = at
}

// auth reads `auth: {local: {...}, remote: {...}}`.
func (d *decoder) auth(n *node, path keyPath, k *IKEConfig) {
	a := &k.Auth
	files := func(into *[]string) func(*node, keyPath) {
		return func(n *node, path keyPath) {
			if n.kind == list {
				listOf(d, into, d.file)(n, path)
			} else if name, ok := d.file(n, path); ok {
				*into = []string{name}
			}
		}
	}
	d.object(n, path, "auth", fields{
		"local": func(n *node, path keyPath) {
			d.object(n, path, "auth.local", fields{
				"id":            set(&k.LocalID, d.identity),
				"cert":          set(&a.Cert, d.file),
				"key":           set(&a.Key, d.file),
				"intermediates": files(&a.Intermediates),
				"pss":           set(&a.PSS, d.boolean),
			})
		},
		"remote": func(n *node, path keyPath) {
			d.object(n, path, "auth.remote", fields{
				"id":   set(&k.RemoteID, d.identity),
				"ca":   files(&a.CA),
				"crl":  files(&a.CRL),
				"cert": files(&a.RemoteCert),
				"key":  files(&a.RemoteKey),
				"sha1": set(&a.SHA1, d.boolean),
			})
		},
	})
}

// amount reads a number of bytes or packets, with k, m, g or t for powers of 1024 as strongSwan has them.
func (d *decoder) amount(n *node, path keyPath) (uint64, bool) {
	s, ok := d.text(n, path)
	if !ok {
		return 0, false
	}
	digits, shift := s, 0
	if len(s) > 0 {
		if i := strings.IndexByte("kmgt", s[len(s)-1]|0x20); i >= 0 {
			digits, shift = s[:len(s)-1], 10*(i+1)
		}
	}
	v, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || v > math.MaxUint64>>shift {
		d.fail(n, path, "a number, as 1000000, 500m or 10g", "%q is none", s)
		return 0, false
	}
	return v << shift, true
}

// pools reads the address pools.
func (d *decoder) pools(n *node, path keyPath, c *Config) {
	d.each(n, path, "a mapping from names to pools", func(key, value *node, path keyPath) {
		p := PoolConfig{Name: key.text}
		d.object(value, path, "pools.*", fields{
			"addresses": listOf(d, &p.Addresses, d.prefix),
			"dns":       listOf(d, &p.DNS, d.addr),
		})
		c.Pools = append(c.Pools, p)
	})
}
