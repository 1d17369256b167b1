package warren

import "slices"

// closeForwards ends those that are not configured any more. Connections of others go on.
func (r *reload) closeForwards() {
	for _, f := range r.forwards.configured() {
		if !slices.Contains(r.new.Forwards, f.cfg) {
			r.fail(f.Close())
		}
	}
}

// openForwards begins those that are new.
func (r *reload) openForwards() {
	var there []ForwardConfig
	for _, f := range r.forwards.configured() {
		there = append(there, f.cfg)
	}
	for _, cfg := range r.new.Forwards {
		if slices.Contains(there, cfg) {
			continue
		}
		f, err := r.openForward(cfg)
		if err == nil {
			f.lasting = true
			err = r.forwards.add(f, true)
		}
		if err != nil {
			r.unforwarded = append(r.unforwarded, cfg)
			r.fail(err)
		}
	}
}
