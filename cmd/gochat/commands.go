package main

// commands lists the subcommands in the order in which help shows them.
func commands() []command {
	return append([]command{
		upCommand(),
		chatroomCommand(),
		persisterCommand(),
		joinCommand(),
		sendCommand(),
		tailCommand(),
		historyCommand(),
		migrateCommand(),
		deadCommand(),
		reconcileCommand(),
		traceCommand(),
		doctorCommand(),
		tortureCommand(),
		benchCommand(),
		baselineCommand(),
		gencertCommand(),
		versionCommand(),
	}, mutantsCommand()...)
}
