package warren

import (
	"maps"
	"slices"
)

// unsupported are the keys that the design has and this version does not act on, with what they belong to; by the mapping
// that they are in, whose names of vrfs and tunnels are written as *. Each is an error: a key that is read and ignored would
// be a promise broken in silence.
var unsupported = map[string]map[string]string{
	"": {
		"wireguard": "WireGuard",
		"pools":     "address pools",
		"forward":   "forwarding of local sockets",
		"auth":      "IKEv2",
		"metrics":   "metrics",
	},
	"defaults":    {"wireguard": "WireGuard", "bgp": "BGP"},
	"vrfs.*.port": {"snat": "source NAT"},
	"tunnels.*": {
		"wireguard":   "WireGuard",
		"allowed_ips": "WireGuard",
		"gre":         "GRE",
		"snat":        "source NAT",
		"multicast":   "multicast",
	},
	"tunnels.*.ipsec": join(childKeys, map[string]string{
		"psk":             "IKEv2",
		"psk_file":        "IKEv2",
		"ppk":             "IKEv2",
		"ppk_file":        "IKEv2",
		"proposals":       "IKEv2",
		"auth":            "IKEv2",
		"local_id":        "IKEv2",
		"remote_id":       "IKEv2",
		"keyingtries":     "IKEv2",
		"dpd_delay":       "IKEv2",
		"dpd_timeout":     "IKEv2",
		"fragmentation":   "IKEv2",
		"mobike":          "IKEv2",
		"reauth_time":     "IKEv2",
		"unique":          "IKEv2",
		"send_cert":       "IKEv2",
		"send_certreq":    "IKEv2",
		"childless":       "IKEv2",
		"children":        "IKEv2 with several children",
		"pool":            "address pools",
		"pools":           "address pools",
		"vips":            "address pools",
		"keep_up":         "traffic that keeps a tunnel up",
		"pull":            "IKEv2",
		"retransmit_base": "IKEv2",
	}),
	"tunnels.*.ipsec.child": join(childKeys, map[string]string{"mode": "transport mode"}),
}

// childKeys are IKEv2's, of a child SA or of ipsec for all its children.
var childKeys = map[string]string{
	"esp_proposals": "IKEv2",
	"start_action":  "IKEv2",
	"close_action":  "IKEv2",
	"dpd_action":    "IKEv2",
	"rekey_time":    "IKEv2",
	"over_time":     "IKEv2",
	"rand_time":     "IKEv2",
	"life_time":     "IKEv2",
	"rekey_bytes":   "IKEv2",
	"life_bytes":    "IKEv2",
	"rand_bytes":    "IKEv2",
	"rekey_packets": "IKEv2",
	"life_packets":  "IKEv2",
	"rand_packets":  "IKEv2",
	"inactivity":    "IKEv2",
	"keep_up":       "traffic that keeps a tunnel up",
}

func join(ms ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, m := range ms {
		maps.Copy(all, m)
	}
	return all
}

// otherKinds are the keys that make a tunnel one of a kind which is not supported yet.
var otherKinds = []string{"wireguard", "gre"}

// ofOtherKind says whether a tunnel has one of them.
func ofOtherKind(n *node) bool {
	return slices.ContainsFunc(otherKinds, func(k string) bool { return n.entry(k) != nil })
}
