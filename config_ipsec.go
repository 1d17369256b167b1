package warren

import (
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/warrenvpn/warren/esp"
)

var encaps = map[string]Encap{"auto": EncapAuto, "always": EncapAlways, "yes": EncapAlways, "true": EncapAlways,
	"never": EncapNever, "no": EncapNever, "false": EncapNever}

var dfPolicies = map[string]DFPolicy{"copy": DFCopy, "set": DFSet, "clear": DFClear}

// ipsec reads the keys of an ESP tunnel, or of the defaults. name is the tunnel's, which its only child has too.
func (d *decoder) ipsec(n *node, path keyPath, name string) *IPsecConfig {
	c := DefaultIPsec()
	k, shared := DefaultIKE(), DefaultIKEChild(name)
	f := fields{
		"remote": func(n *node, path keyPath) {
			if n.kind == scalar && isAny(n.text) {
				shared.StartAction = StartNone // nobody knows where they are
				c.RemoteAny = true
				return
			}
			set(&c.Remote, d.remote)(n, path)
		},
		"remote_port": set(&c.RemotePort, number[uint16](d, 1, 65535)),
		"local":       set(&c.Local, d.addr),
		"encap":       set(&c.Encap, word(d, encaps)),
		"df":          set(&c.DF, word(d, dfPolicies)),
		"copy_df": func(at *node, path keyPath) {
			if n.entry("df") != nil {
				d.fail(at, path, "one of the two", "copy_df and df say the same thing twice")
			} else if copied, ok := d.boolean(at, path); ok && !copied {
				c.DF = DFClear
			}
		},
		"replay_window": set(&c.ReplayWindow, number(d, 0, esp.MaxReplayWindow)),
		"nat_keepalive": set(&c.Keepalive, d.duration),
		"child":         func(*node, keyPath) {}, // below, when what is shared is known
		"children":      func(*node, keyPath) {},
		"static":        func(n *node, path keyPath) { c.Static = d.static(n, path) },
	}
	for _, more := range []fields{d.ikeKeys(n, &k), d.childKeys(&shared, true)} {
		maps.Copy(f, more)
	}
	d.object(n, path, "tunnels.*.ipsec", f)
	if n.kind == mapping {
		d.finishIKE(n, &k)
		d.ipsecChildren(n, path, &c, &k, shared)
	}
	return &c
}

// finishIKE fills in what follows from the IKE SA's rekey time.
func (d *decoder) finishIKE(n *node, k *IKEConfig) {
	if n.entry("rekey_time") == nil && n.entry("reauth_time") == nil {
		return
	}
	if n.entry("over_time") == nil {
		k.OverTime = max(k.RekeyTime, k.ReauthTime) / 10
	}
	if n.entry("rand_time") == nil {
		k.RandTime = max(k.RekeyTime, k.ReauthTime) / 10
	}
}

// ipsecChildren reads child: or children:. Keys by hand have one child, of which only the selectors count.
func (d *decoder) ipsecChildren(n *node, path keyPath, c *IPsecConfig, k *IKEConfig, shared IKEChildConfig) {
	one, several := n.entry("child"), n.entry("children")
	if one != nil && several != nil {
		d.fail(several, path.to("children"), "one of the two", "child and children are both there")
	}
	if c.Static != nil {
		if n.entry("remote_port") == nil {
			c.RemotePort = DefaultUDPPort
		}
		if one != nil {
			d.object(one, path.to("child"), "tunnels.*.ipsec.child", fields{
				"local_ts":  listOf(d, &c.Child.LocalTS, d.selector),
				"remote_ts": listOf(d, &c.Child.RemoteTS, d.selector),
			})
		}
		for _, key := range slices.Sorted(maps.Keys(d.ikeKeys(n, new(IKEConfig)))) {
			if at := n.entry(key); at != nil && !d.inherited[at] {
				d.fail(at, path.to(key), "static: or this", "keys are given by hand, and nothing is negotiated")
			}
		}
		return
	}
	if several == nil {
		child := shared
		d.sharedPlaces(n, one, path.to("child"))
		if one != nil {
			d.ikeChild(one, path.to("child"), &child)
		}
		k.Children = []IKEChildConfig{child}
	} else {
		d.each(several, path.to("children"), "a mapping from names to children", func(key, value *node, path keyPath) {
			child := shared
			child.Name = key.text
			d.sharedPlaces(n, value, path)
			d.ikeChild(value, path, &child)
			k.Children = append(k.Children, child)
		})
	}
	c.IKE = k
}

// remote reads the peer's address.
func (d *decoder) remote(n *node, path keyPath) (netip.Addr, bool) {
	s, ok := d.text(n, path)
	if !ok {
		return netip.Addr{}, false
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return a, true
	}
	const want = "an IPv4 or IPv6 address, or any"
	switch with, err := netip.ParseAddrPort(s); {
	case err == nil:
		d.fail(n, path, fmt.Sprintf("remote: %v and remote_port: %d", with.Addr(), with.Port()), "%q has a port", s)
	case hostName.MatchString(s):
		d.fail(n, path, want, "%q: not supported yet by this version (peers by host name)", s)
	default:
		d.fail(n, path, want, "%q is no address", s)
	}
	return netip.Addr{}, false
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\.[A-Za-z][A-Za-z0-9-]*\.?$`)

// selectorSyntax is strongSwan's: 10.0.0.0/16[tcp/80], 10.0.0.0/16[udp], 10.0.0.0/16[tcp/1000-2000].
var selectorSyntax = regexp.MustCompile(`^([^\[\]]+)(?:\[([a-z0-9-]+)(?:/([0-9]+)(?:-([0-9]+))?)?\])?$`)

// protocols are IANA's numbers of those that have names here.
var protocols = map[string]uint8{"icmp": 1, "tcp": 6, "udp": 17, "dccp": 33, "gre": 47, "ipv6-icmp": 58, "icmpv6": 58,
	"ospf": 89, "sctp": 132, "udplite": 136}

func (d *decoder) selector(n *node, path keyPath) (ts SelectorConfig, ok bool) {
	s, ok := d.text(n, path)
	if !ok {
		return ts, false
	}
	m := selectorSyntax.FindStringSubmatch(s)
	if m == nil {
		d.fail(n, path, "a selector such as 10.0.0.0/16, 10.0.0.0/16[udp] or 10.0.0.0/16[tcp/1000-2000]", "%q is no traffic selector", s)
		return ts, false
	}
	prefix := *n
	prefix.text = m[1]
	if a, err := netip.ParseAddr(m[1]); err == nil && a.Zone() == "" {
		prefix.text = netip.PrefixFrom(a, a.BitLen()).String()
	}
	if ts.Prefix, ok = d.prefix(&prefix, path); !ok {
		return ts, false
	}
	if m[2] != "" {
		proto, known := protocols[m[2]]
		if v, err := strconv.ParseUint(m[2], 10, 8); err == nil && v > 0 {
			proto, known = uint8(v), true
		}
		if !known {
			d.fail(n, path, oneOf(slices.Sorted(maps.Keys(protocols)))+", or a number from 1 to 255", "protocol %q is not known", m[2])
			return ts, false
		}
		ts.Proto = proto
	}
	from, to := m[3], m[4]
	if to == "" {
		to = from
	}
	if from == "" {
		return ts, true
	}
	lo, loErr := strconv.ParseUint(from, 10, 16)
	hi, hiErr := strconv.ParseUint(to, 10, 16)
	if loErr != nil || hiErr != nil {
		d.fail(n, path, "ports from 0 to 65535", "%q has a port that is none", s)
		return ts, false
	}
	ts.FromPort, ts.ToPort = uint16(lo), uint16(hi)
	return ts, true
}

func (d *decoder) static(n *node, path keyPath) *StaticConfig {
	s := new(StaticConfig)
	d.object(n, path, "tunnels.*.ipsec.static", fields{
		"esp":        set(&s.Suite, d.text),
		"esn":        set(&s.ESN, d.boolean),
		"state_file": set(&s.StateFile, d.file),
		"out":        func(n *node, path keyPath) { d.sa(n, path, &s.Out) },
		"in":         func(n *node, path keyPath) { d.sa(n, path, &s.In) },
	})
	return s
}

func (d *decoder) sa(n *node, path keyPath, sa *SAConfig) {
	d.object(n, path, "tunnels.*.ipsec.static.sa", fields{
		"spi": set(&sa.SPI, number[uint32](d, 0, 1<<32-1)),
		"key": set(&sa.Key, d.key),
		"key_file": func(at *node, path keyPath) {
			key := path[:len(path)-1].to("key")
			if n.entry("key") != nil {
				d.fail(at, path, "one of the two", "key and key_file are both there")
			} else if sa.Key = d.keyFile(at, path); sa.Key == nil {
				d.broken[key.id()] = true
			} else {
				d.places[key.id()] = at
			}
		},
	})
}

// key reads a key in hexadecimal. What is wrong with it is said without showing it.
func (d *decoder) key(n *node, path keyPath) (Secret, bool) {
	if n.kind != scalar {
		d.fail(n, path, keySyntax, "%s", describe(n))
		return nil, false
	}
	key, problem := parseKey(n.text)
	if problem != "" {
		d.fail(n, path, keySyntax, "%s", problem)
		return nil, false
	}
	d.inFile(n, path)
	return key, true
}

const keySyntax = `hexadecimal digits, two for each byte: "0x0102..."`

func parseKey(text string) (key Secret, problem string) {
	if text == "" {
		return nil, "the key is empty"
	}
	digits, ok := strings.CutPrefix(strings.ToLower(text), "0x")
	if !ok {
		return nil, "the key does not begin with 0x"
	}
	if len(digits)%2 != 0 {
		return nil, fmt.Sprintf("the key has an odd number of digits, %d", len(digits))
	}
	key, err := hex.DecodeString(digits)
	if err != nil {
		return nil, "the key is not hexadecimal"
	}
	if len(key) == 0 {
		return nil, "the key is empty"
	}
	return key, ""
}

// maxKeyFile bounds a key file in bytes.
const maxKeyFile = 4096

// keyFile reads a key from a file of its own, nil if that fails.
func (d *decoder) keyFile(n *node, path keyPath) Secret {
	name, ok := d.file(n, path)
	if !ok {
		return nil
	}
	data, err := d.readSecret(n, path, name)
	if err != nil {
		d.fail(n, path, "", "read the key: %v", err)
		return nil
	}
	key, problem := parseKey(strings.TrimSpace(string(data)))
	if problem != "" {
		d.fail(n, path, keySyntax, "in %s: %s", name, problem)
		return nil
	}
	return key
}
