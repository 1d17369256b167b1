package proposal

import (
	"fmt"
	"slices"
	"strings"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// The default proposals, in words. Like strongSwan's they are without SHA-1, and ESP's without PFS.
const (
	groups     = "curve25519-ecp256-ecp384-ecp521-modp3072-modp4096-modp2048"
	DefaultIKE = "aes256gcm16-aes128gcm16-chacha20poly1305-prfsha384-prfsha256-prfsha512-" + groups + "," +
		"aes256-aes192-aes128-sha384-sha256-sha512-" + groups
	DefaultESP = "aes256gcm16-aes128gcm16-chacha20poly1305,aes256-aes192-aes128-sha384-sha256-sha512"
)

// maxProposals is how many can be numbered.
const maxProposals = 255

// ParseIKE reads proposals for IKE SAs. The error names the word that is wrong, and what would be right.
func ParseIKE(s string) (List, error) {
	l, _, err := parse(message.ProtocolIKE, s, DefaultIKE, finishIKE)
	return l, err
}

// ParseESP reads proposals for ESP. The error names the word that is wrong, and what would be right; warnings say what is
// ignored.
func ParseESP(s string) (l List, warnings []string, err error) {
	return parse(message.ProtocolESP, s, DefaultESP, finishESP)
}

// parse reads the proposals; finish checks one and completes it.
func parse(protocol message.ProtocolID, s, defaults string, finish func(*Proposal) (string, error)) (l List, warnings []string, err error) {
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		if part == "default" {
			more, _, err := parse(protocol, defaults, "", finish)
			if err != nil {
				return nil, nil, err
			}
			l = append(l, more...)
			continue
		}
		p, err := parseOne(protocol, part)
		if err != nil {
			return nil, nil, fmt.Errorf("%v proposal %q: %w", protocol, part, err)
		}
		warning, err := finish(&p)
		if err != nil {
			return nil, nil, fmt.Errorf("%v proposal %q: %w", protocol, part, err)
		}
		if warning != "" {
			warnings = append(warnings, fmt.Sprintf("%v proposal %q: %s", protocol, part, warning))
		}
		l = append(l, p)
	}
	if len(l) > maxProposals {
		return nil, nil, fmt.Errorf("%d proposals for %v; at most %d can be offered", len(l), protocol, maxProposals)
	}
	return l, warnings, nil
}

func parseOne(protocol message.ProtocolID, s string) (Proposal, error) {
	p := Proposal{Protocol: protocol}
	if s == "" {
		return p, fmt.Errorf("it is empty; an example is %s", example(protocol))
	}
	for w := range strings.SplitSeq(s, "-") {
		t, err := lookup(w)
		if err != nil {
			return p, err
		}
		if !slices.ContainsFunc(p.Transforms, t.Equal) {
			p.Transforms = append(p.Transforms, t)
		}
	}
	return p, nil
}

func example(protocol message.ProtocolID) string {
	if protocol == message.ProtocolIKE {
		return "aes256gcm16-prfsha384-ecp384"
	}
	return "aes256gcm16-ecp384"
}

// finishIKE checks a proposal for IKE and adds the PRF that follows from the integrity algorithm.
func finishIKE(p *Proposal) (string, error) {
	aead, err := checkCipher(p)
	if err != nil {
		return "", err
	}
	integ, prf := of(p.Transforms, message.TransformInteg), of(p.Transforms, message.TransformPRF)
	switch {
	case aead && len(prf) == 0:
		return "", fmt.Errorf("IKE needs a PRF, which does not follow from %s: add one of %s",
			spell(of(p.Transforms, message.TransformEncr)[0]), names(message.TransformPRF))
	case len(prf) == 0:
		p.Transforms = append(p.Transforms, following(integ)...)
	}
	if sn := of(p.Transforms, message.TransformSN); len(sn) > 0 {
		return "", fmt.Errorf("%q is for ESP only", spell(sn[0]))
	}
	ke := of(p.Transforms, message.TransformKE)
	if len(ke) == 0 || slices.ContainsFunc(ke, isNone) {
		return "", fmt.Errorf("IKE needs a key exchange method: one of %s", names(message.TransformKE))
	}
	return "", checkKE(p)
}

var prfOf = map[uint16]uint16{
	message.IntegHMACSHA1_96:   message.PRFHMACSHA1,
	message.IntegHMACSHA256128: message.PRFHMACSHA256,
	message.IntegHMACSHA384192: message.PRFHMACSHA384,
	message.IntegHMACSHA512256: message.PRFHMACSHA512,
}

// following returns the PRFs that follow from integrity algorithms: those with the same hash.
func following(integ []message.Transform) []message.Transform {
	var prf []message.Transform
	for _, t := range integ {
		if id, ok := prfOf[t.ID]; ok {
			prf = append(prf, message.Transform{Type: message.TransformPRF, ID: id})
		}
	}
	return prf
}

// eitherSN is what ESP offers unless it is said otherwise, in order of preference.
var eitherSN = []message.Transform{{Type: message.TransformSN, ID: message.SN64}, {Type: message.TransformSN, ID: message.SN32}}

// finishESP checks a proposal for ESP, takes a PRF out and adds sequence numbers.
func finishESP(p *Proposal) (warning string, err error) {
	if prf := of(p.Transforms, message.TransformPRF); len(prf) > 0 {
		warning = fmt.Sprintf("%q is ignored, since ESP has no PRF", spell(prf[0]))
		p.Transforms = slices.DeleteFunc(p.Transforms, func(t message.Transform) bool { return t.Type == message.TransformPRF })
	}
	if _, err := checkCipher(p); err != nil {
		return "", err
	}
	if len(of(p.Transforms, message.TransformSN)) == 0 {
		p.Transforms = append(p.Transforms, eitherSN...)
	}
	return warning, checkKE(p)
}

// checkCipher checks encryption and integrity, and says whether the proposal is one of AEADs.
func checkCipher(p *Proposal) (aead bool, err error) {
	encr, integ := of(p.Transforms, message.TransformEncr), of(p.Transforms, message.TransformInteg)
	if len(encr) == 0 {
		return false, fmt.Errorf("an encryption algorithm is missing: one of %s", names(message.TransformEncr))
	}
	aead = isAEAD(encr[0].ID)
	for _, e := range encr {
		if isAEAD(e.ID) != aead {
			return false, fmt.Errorf("%s has integrity protection of its own and %s has not: put them into two proposals, separated by a comma",
				spell(pick(encr, true)), spell(pick(encr, false)))
		}
	}
	switch {
	case aead && len(integ) > 0 && p.Protocol == message.ProtocolIKE && len(of(p.Transforms, message.TransformPRF)) == 0:
		return false, fmt.Errorf("%s has integrity protection of its own: write %q in place of %q", spell(encr[0]), "prf"+spell(integ[0]), spell(integ[0]))
	case aead && len(integ) > 0:
		return false, fmt.Errorf("%s has integrity protection of its own: leave out %q", spell(encr[0]), spell(integ[0]))
	case !aead && len(integ) == 0:
		return false, fmt.Errorf("%s needs an integrity algorithm: one of %s", spell(encr[0]), names(message.TransformInteg))
	}
	return aead, nil
}

func pick(encr []message.Transform, aead bool) message.Transform {
	return encr[slices.IndexFunc(encr, func(t message.Transform) bool { return isAEAD(t.ID) == aead })]
}

// checkKE wants additional key exchanges to come on top of one, and some choice of all in which no method comes twice.
func checkKE(p *Proposal) error {
	types := keTypes(p.Transforms)
	if len(types) == 0 {
		return nil
	}
	if types[0] != message.TransformKE {
		return fmt.Errorf("%q is an additional key exchange, which needs a first one: add one of %s",
			spell(of(p.Transforms, types[0])[0]), names(message.TransformKE))
	}
	if _, ok := chooseKE(candidates(p.Transforms, types, func(message.Transform) bool { return true })); !ok {
		return fmt.Errorf("every choice of key exchanges has a method twice, which RFC 9370 section 2.2.1 excludes: use different ones")
	}
	return nil
}
