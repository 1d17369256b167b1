package warren

import (
	"slices"
)

// unsupported are the keys that the design has and this version does not act on, with what they belong to; by the mapping
// that they are in, whose names of vrfs and tunnels are written as *. Each is an error: a key that is read and ignored would
// be a promise broken in silence.
var unsupported = map[string]map[string]string{
	"": {
		"metrics": "metrics",
	},
	"defaults":    {"bgp": "defaults for BGP"},
	"vrfs.*.port": {"snat": "source NAT"},
	"tunnels.*": {
		"gre":       "GRE",
		"snat":      "source NAT",
		"multicast": "multicast",
	},
	"tunnels.*.ipsec": {
		"ppk":             "post-quantum preshared keys",
		"ppk_file":        "post-quantum preshared keys",
		"dpd_timeout":     "IKEv1",
		"mobike":          "MOBIKE",
		"unique":          "a choice of what several IKE SAs with one identity mean",
		"send_cert":       "a choice of when certificates are sent",
		"send_certreq":    "a choice of when certificates are asked for",
		"childless":       "childless IKE SAs",
		"pools":           "several pools for a tunnel",
		"vips":            "asking for addresses",
		"pull":            "IKEv1",
		"retransmit_base": "other retransmission times",
	},
	"tunnels.*.ipsec.child": {"mode": "transport mode", "inactivity": "closing what is idle"},
}

// otherKinds are the keys that make a tunnel one of a kind which is not supported yet.
var otherKinds = []string{"gre"}

// ofOtherKind says whether a tunnel has one of them.
func ofOtherKind(n *node) bool {
	return slices.ContainsFunc(otherKinds, func(k string) bool { return n.entry(k) != nil })
}
