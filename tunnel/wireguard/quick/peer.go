package quick

import "strings"

func (p *parser) peerSetting(here at, value string) {
	peer := p.peer()
	switch here.key {
	case "PublicKey":
		p.single(here)
		p.keyAt = here
		key, err := ParsePublicKey(value)
		if err != nil {
			// Not quoted: a private key in the wrong place is a secret all the same.
			p.fail(here, err.Error(), "44 characters of base64, as of wg pubkey")
			p.keyErr = true
			return
		}
		peer.PublicKey, p.keyErr = key, false
	case "PresharedKey":
		p.single(here)
		p.secret(here, value, &peer.PresharedKey)
	case "AllowedIPs":
		p.allowedIPs(here, peer, value)
	case "Endpoint":
		p.single(here)
		e, err := endpoint(value)
		if err != nil {
			p.fail(here, err.Error(), "ADDRESS:PORT, [IPV6]:PORT or NAME:PORT")
			return
		}
		peer.Endpoint = e
	case "PersistentKeepalive":
		p.single(here)
		n, ok := number(value, 16)
		if !ok && !strings.EqualFold(value, "off") {
			p.fail(here, shown(value)+" is not an interval", "off, or 0 to 65535 seconds")
			return
		}
		peer.PersistentKeepalive = uint16(n)
	}
}

// allowedIPs adds to those of the peer's lines before. A peer without any has no such line: wg(8) takes no empty one.
func (p *parser) allowedIPs(here at, peer *Peer, value string) {
	const want = "addresses or prefixes, separated by commas"
	for _, word := range commaParts(here, value) {
		if strings.HasPrefix(word.text, "+") || strings.HasPrefix(word.text, "-") {
			p.fail(word.at, shown(word.text)+" is a change, and a file says what is", want)
			continue
		}
		pfx, err := prefix(word.text)
		if err != nil {
			p.fail(word.at, err.Error(), want)
			continue
		}
		peer.AllowedIPs = append(peer.AllowedIPs, pfx.Masked())
	}
}
