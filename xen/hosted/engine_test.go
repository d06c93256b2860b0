package hosted

// engineArg makes the test binary an engine of its own, which a test can kill.
const engineArg = "-engine"

func engineMain([]string) {}
