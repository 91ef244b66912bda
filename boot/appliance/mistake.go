package appliance

// A Mistake is an error that the user can mend. The cause is in the config, the
// flags or the folders they name.
type Mistake struct{ error }

func (m Mistake) Unwrap() error { return m.error }
