package policy

import "github.com/warrenvpn/warren/routing/route"

// Withheld says why a path that a policy let through must yet not be announced to a neighbour; "" if it may be.
func Withheld(p *route.Path, to *route.Peer) string {
	switch from := p.Peer; {
	case from == to:
		return "it came from there"
	case from != nil && from.IBGP && to.IBGP:
		// RFC 4271 section 9.2; we do not reflect.
		return "it came from another internal neighbor"
	}
	for _, c := range attrs(p).Communities {
		switch {
		case c == NoAdvertise:
			return "community no-advertise"
		case c == NoExport && !to.IBGP:
			return "community no-export"
		case c == NoExportSubconfed && !to.IBGP:
			return "community no-export-subconfed"
		}
	}
	return ""
}
