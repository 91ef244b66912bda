package appliance

// A Mistake is something that the user can mend in the config, the flags or
// the folders they name.
type Mistake struct{ error }

func (m Mistake) Unwrap() error { return m.error }
