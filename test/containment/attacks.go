package main

// attacks are the attacks of code in a sandbox, of callers, and of web pages. A session is the attacker's, unless the
// text names another one.
var attacks = []item{
	// The sandbox and the host.
	{ID: "A1", Title: "Every thread of a sandbox, seen from the host, in a new and in a restored sandbox", Expect: "unprivileged ids, no groups, few capabilities in a namespace of their own, no_new_privs, seccomp, new namespaces",
		Tests: []string{"internal/sandbox/embedded.TestEveryThreadOfASandboxIsConfined", "test/e2e.TestCodeInASandboxHasNoPrivileges"},
		Open:  "descriptors, limits, mounts and the hash of the seccomp program have no committed golden values"},
	{ID: "A2", Title: "A control is missing", Expect: "a named test fails",
		Tests: []string{"internal/sandbox/embedded.TestThePostureCheckFindsAnUnconfinedProcess", "test/e2e.TestAWeakerPostureIsDetected"},
		Open:  "no build switches off one control at a time"},
	{ID: "A3", Title: "The host lacks what a sandbox needs", Expect: "an error with a remedy, and no process",
		Tests: []string{"internal/sandbox/embedded.TestALimitThatIsNotEnforcedIsAnError", "internal/sandbox/embedded.TestWithoutNamespacesThereIsNoDriver", "internal/sandbox/embedded/cgroup.TestControllersThatGVisorNeedsAreChecked",
			"internal/sandbox/embedded/syscalls.TestACallThatGvisorDoesNotHaveIsAnError", "test/e2e.TestRootWithoutItsRightsGetsARemedy"}},
	{ID: "A4", Title: "Start-up hooks of Python, IPython and modules in the working directory", Expect: "they run with the rights of user code", Tests: []string{"test/hostile.TestAttacks/A4"}},
	{ID: "A5", Title: "Each number of the table of system calls, of x32 and of 32 bits", Expect: "the golden table; refused calls return errors", Tests: []string{"test/hostile.TestAttacks/A5", "internal/sandbox/embedded/syscalls.TestEverySandboxIsWithoutCallsThatLeadToNamespaces"}},
	{ID: "A6", Title: "Files of the kernel: memory, keys, symbols, log, settings", Expect: "absent, empty or refused", Tests: []string{"test/hostile.TestAttacks/A6"}},
	{ID: "A7", Title: "Mounts, devices, programs of root, capabilities of files", Expect: "refused; the mounts are unchanged", Tests: []string{"test/hostile.TestAttacks/A7"}},
	{ID: "A8", Title: "Working directory or program named by an open descriptor", Expect: "nothing of the agent is reached", Tests: []string{"internal/agent/process.TestNoPathOfACommandLeadsToOpenFilesOfTheAgent", "test/e2e.TestNoPathOfARequestLeadsToMoreThanTheCodeReaches", "internal/sandbox/embedded.TestGVisorStartsNoProgramNextToTheRunner"}},
	{ID: "A9", Title: "A hostile image: links at mount points, devices, unsafe layers and labels", Expect: "refused or harmless", Tests: []string{"internal/sandbox/embedded.TestAnImageCannotMisleadTheMounts", "internal/image.TestMountPointsAreRealDirectories",
		"internal/image.TestAnInvalidEntryIsRefusedAndChangesNothingOutsideTheImage", "internal/image.TestDevicesPipesAndSetIDBitsAreLeftOut", "internal/agent.TestADirectoryThatIsALinkGetsNoHostsFile", "internal/server/jupyter/specs.TestAHostileImageShowsNoFilesOfTheHost"}},
	{ID: "A10", Title: "Each family, type and protocol of sockets", Expect: "Unix and loopback only", Tests: []string{"test/hostile.TestAttacks/A10"}},
	{ID: "A11", Title: "A user namespace, and the calls that it would allow", Expect: "refused", Tests: []string{"test/e2e.TestCodeInASandboxHasNoPrivileges"}},
	{ID: "A12", Title: "Files and mounts of control groups", Expect: "refused", Tests: []string{"test/hostile.TestAttacks/A12"}},
	{ID: "A13", Title: "Input pushed into terminals, terminals of others", Expect: "refused", Tests: []string{"test/hostile.TestAttacks/A13"}},
	{ID: "A14", Title: "Control sockets of the host, by path, abstract name and port", Expect: "none is reached", Tests: []string{"test/hostile.TestAttacks/A14"}},
	{ID: "A15", Title: "Changes of the image that all sessions share", Expect: "the image is the same before and after", Tests: []string{"internal/sandbox/embedded.TestEmbeddedKeepsTheContract/Isolation"}},

	// Between sessions.
	{ID: "A16", Title: "Signals, shared memory, queues, sockets and locks of another session", Expect: "invisible", Tests: []string{"test/hostile.TestAttacks/A16", "test/e2e.TestInsideASandboxNothingOfTheHostOrOfAnotherSessionIsVisible"}},
	{ID: "A17", Title: "Remains of an ended session", Expect: "none", Tests: []string{"test/hostile.TestAttacks/A17"}},
	{ID: "A18", Title: "A ready sandbox for a second session", Expect: "never", Tests: []string{"internal/sandbox/warm.TestNoSandboxIsReturnedTwice", "test/e2e.TestASessionFromATemplateHasItsOwnEnvironmentAndDirectory", "test/e2e.TestForksHaveDifferentRandomNumbersAndIdentities"}},
	{ID: "A19", Title: "Secrets of the server and of other sessions", Expect: "not found", Tests: []string{"test/e2e.TestInsideASandboxNothingOfTheHostOrOfAnotherSessionIsVisible", "test/e2e.TestCodeUsesASecretThatItCannotRead"}},
	{ID: "A20", Title: "Values that identify the host", Expect: "none of the host's", Tests: []string{"test/hostile.TestAttacks/A20"}},
	{ID: "A21", Title: "Answers that tell whether another caller's session exists", Expect: "the same as for an unknown session", Tests: []string{"internal/server.TestSessionsOfOtherCallersAnswerLikeUnknownSessions"}, Open: "the time of the answers is not compared"},

	// The kernel's protocol.
	{ID: "A22", Title: "Forged messages of a kernel", Expect: "they reach only their own cell", Tests: []string{"test/e2e.TestForgedMessagesReachOnlyTheirOwnCell", "internal/agent.TestForgedMessagesEndOnlyTheirOwnCellAndOnlyOnce"}},
	{ID: "A23", Title: "Other programs at the kernel's sockets", Expect: "they end only their own kernel", Tests: []string{"test/e2e.TestMalformedFramesAndRoguePeersCanEndOnlyTheirOwnKernel"}},
	{ID: "A24", Title: "Malformed frames and messages", Expect: "dropped, with bounded memory", Tests: []string{"test/e2e.TestMalformedFramesAndRoguePeersCanEndOnlyTheirOwnKernel", "internal/jupyter/zmtp.FuzzFrame", "internal/jupyter/stream.FuzzRead", "internal/jupyter.FuzzMessage", "internal/guest.FuzzEvent",
		"internal/link.FuzzFrameReader", "internal/registry.TestAHostileAgentEndsItsCellsAndNotTheServer", "internal/guest.TestFramesThatNoAgentSendsEndTheWire"}},
	{ID: "A25", Title: "A kernel that ends itself", Expect: "the cell ends with the cause", Tests: []string{"test/e2e.TestAKernelThatEndsItselfReportsTheCause", "test/e2e.TestADeadKernelKeepsItsLastOutput"}},
	{ID: "A26", Title: "A kernel that never answers", Expect: "its cell ends within a minute of its deadline", Tests: []string{"test/e2e.TestACellOfAStuckKernelEndsWithinSixtySecondsAndTheSessionContinues"}},
	{ID: "A27", Title: "Signals and traces against the agent", Expect: "refused", Tests: []string{"test/e2e.TestUserCodeCannotKillOrTraceTheAgent", "internal/sandbox/embedded.TestUserCodeDiesBeforeTheAgentInARestoredSandboxToo"}},
	{ID: "A28", Title: "Zombies, and daemons that outlive their cell", Expect: "they end with their kernel or session", Tests: []string{"test/e2e.TestDaemonsAndZombiesEndWithTheRestartOfTheirKernel", "test/e2e.TestHostileCommandsEndAndTheSessionContinues"}},
	{ID: "A29", Title: "Output after the end of its cell", Expect: "late output of the same cell", Tests: []string{"test/e2e.TestOutputAfterTheEndOfItsCellIsInTheCellAndTheNotebook"}},

	// Output and resources.
	{ID: "A30", Title: "Floods of output, and one endless line", Expect: "truncated; at most 64 MiB of the server's memory", Tests: []string{"test/e2e.TestFloodsOfOutputUseAtMost64MiBOfServerMemoryAndOtherSessionsContinue", "internal/notebook.TestOneEndlessLineIsBounded"}},
	{ID: "A31", Title: "Readers that never read", Expect: "bounded memory; a reader continues by number", Tests: []string{"test/e2e.TestReadersThatNeverReadUseAtMost64MiBOfServerMemoryAndBlockNoRequest", "test/e2e.TestAReaderThatDisconnectsAHundredTimesGetsEveryByteOnce"}},
	{ID: "A32", Title: "Outputs above each bound", Expect: "left out with a note", Tests: []string{"test/e2e.TestAnOutputAboveABoundIsLeftOutAndItsCellEnds", "test/e2e.TestLargeOutputsOfManySessionsAndReadersUseABoundedPartOfTheServersMemory"}},
	{ID: "A33", Title: "Full file systems", Expect: "errors in the sandbox only", Tests: []string{"internal/sandbox/embedded.TestEmbeddedKeepsTheContract/Isolation", "test/e2e.TestAFullDiskIsReportedAndTheUploadLeavesNoFile"}, Open: "deep trees and a sparse file of 10 TiB have no test"},
	{ID: "A34", Title: "Memory: heap and shared memory", Expect: "errors or the end of the session's own processes", Tests: []string{"test/hostile.TestAttacks/A34", "internal/sandbox/embedded.TestEmbeddedKeepsTheContract/Isolation"}, Open: "page tables and copies on write have no test"},
	{ID: "A35", Title: "Processes, threads, descriptors, sockets, terminals until none is left", Expect: "errors in the sandbox", Tests: []string{"test/hostile.TestAttacks/A35"}},
	{ID: "A36", Title: "All processors", Expect: "the limit of the session holds", Tests: []string{"internal/sandbox/embedded.TestEmbeddedKeepsTheContract/Isolation", "test/e2e.TestASessionSeesTheCPUsOfItsLimit"}},
	{ID: "A37", Title: "Clocks, scheduling classes and priorities", Expect: "refused, or without effect on the host", Tests: []string{"test/hostile.TestAttacks/A37"}},
	{ID: "A38", Title: "Control characters and long names in requests", Expect: "one line of the log, escaped and short", Tests: []string{"internal/server.TestTheLogHasOneLinePerRequestAndNoSecrets"}},

	// Files.
	{ID: "A39", Title: "Paths that lead elsewhere", Expect: "refused", Tests: []string{"test/e2e.TestHostilePathsAreRefusedWithTheirKinds", "internal/guest.TestAPathThatCouldLeadElsewhereIsRefused", "internal/server/jupyter/contents.FuzzAPathStaysBelowItsFolder"}},
	{ID: "A40", Title: "Links that are exchanged during a request", Expect: "no more than the code can reach", Tests: []string{"test/e2e.TestSwappedLinksGiveNoMoreAccessThanTheCodeHas", "internal/agent.TestANameThatUserCodeSwapsNeverLeadsOutside"}},
	{ID: "A41", Title: "Pipes, devices, sockets, and files that grow", Expect: "regular files only, with the size at the start", Tests: []string{"internal/agent.TestOnlyRegularFilesBelowTheDirectoryAreSeen", "test/e2e.TestADownloadHasTheLengthThatTheFileHadWhenItBegan"}},
	{ID: "A42", Title: "Hostile archives", Expect: "refused; no file is left", Tests: []string{"test/e2e.TestHostileArchivesAreRefusedAndLeaveNoFile", "internal/agent/files.FuzzUnpack", "internal/image.TestAZipBombIsRefused"}},
	{ID: "A43", Title: "Names and types that the sandbox chooses", Expect: "escaped, and never a page", Tests: []string{"internal/server/download.TestTheFileNameOfADownloadIsEscaped", "internal/server.TestADownloadNeverBecomesAPage", "internal/server.TestHostileNamesAreRefusedOrShownAsTheyAre"}},
	{ID: "A44", Title: "Poisoned notebooks and kernelspecs", Expect: "data only", Tests: []string{"internal/notebook.TestAHostileNotebookIsRefusedBeforeItFillsTheMemory", "internal/notebook.TestAHostileKernelCannotMakeANotebookInvalid", "test/e2e.TestANotebookWithHostileOutputIsValid"}},

	// Browsers and terminals.
	{ID: "A45", Title: "Scripts in outputs and exported pages", Expect: "no script of the code runs", Tests: []string{"internal/notebook/export.TestThePageHasNoScriptFromOutputs", "internal/notebook/export.FuzzThePageHasNoScript"}, Open: "the exported page is not opened in a browser"},
	{ID: "A46", Title: "Control sequences for terminals", Expect: "only text and colours", Tests: []string{"internal/cli/console.TestOnlyTextAndColoursReachTheTerminal", "internal/mcp.TestTextHasNoTerminalCodes"}},
	{ID: "A47", Title: "Writes from other web sites", Expect: "403", Tests: []string{"internal/server.TestRequestsOfOtherWebSitesAreRefusedOnEveryRoute", "internal/server.TestALinkOnAnotherWebSiteOpensOnlyPublicPages"}},
	{ID: "A48", Title: "WebSockets from other web sites", Expect: "refused before the upgrade", Tests: []string{"internal/server.TestAWebSocketIsRefusedBeforeTheUpgrade"}},
	{ID: "A49", Title: "DNS rebinding: another name in Host", Expect: "refused", Tests: []string{"internal/server.TestALoopbackListenerAcceptsOnlyLoopbackNamesAndConfiguredHosts", "internal/server/guard.TestAnExposedServerAcceptsAddressesAndRefusesUnknownNames"}},

	// The API.
	{ID: "A50", Title: "Sessions of another caller, on each route", Expect: "the answer for an unknown session", Tests: []string{"internal/server.TestSessionsOfOtherCallersAnswerLikeUnknownSessions", "internal/server.TestASandboxOfAnotherCallerAnswersLikeAnUnknownOne", "internal/server.TestFilesBelongToOneCaller", "internal/server.TestAgentsOfTwoCallersAreIsolated"}},
	{ID: "A51", Title: "Requests without a token and with a large body", Expect: "401 before the body is read", Tests: []string{"internal/server.TestTheTokenIsCheckedBeforeTheBodyIsRead", "internal/server.TestEveryRouteExceptPublicPagesNeedsAToken"}},
	{ID: "A52", Title: "The defaults", Expect: "loopback, a token, no network", Tests: []string{"internal/server.TestAServerWithoutAuthenticationRefusesAnExposedListener", "internal/server/guard.TestAnExposedServerNeedsTokensAndEitherTLSOrInsecureHTTP", "test/e2e.TestASessionWithoutAnEgressPolicyHasNoNetworkAccess"}},
	{ID: "A53", Title: "Tokens", Expect: "private file, never in a log", Tests: []string{"internal/server/guard.TestTheTokenFileIsPrivateAndIsCreatedOnce", "internal/server.TestTheLogHasOneLinePerRequestAndNoSecrets", "internal/server.TestATokenInThePathNeedsASettingAndIsNeverLogged"}, Open: "tokens have no scopes, no expiry and no rotation"},
	{ID: "A54", Title: "Slow and malformed HTTP", Expect: "timeouts or 400", Tests: []string{"internal/server.TestInvalidHTTPIsRefusedWith400Or403", "internal/server/exchange.TestASlowBodyIsStoppedAtItsDeadline", "internal/server/exchange.TestAReaderThatReadsNothingIsDisconnected"}, Open: "ten thousand idle connections and resets of HTTP/2 have no test"},
	{ID: "A55", Title: "Many requests at a limit", Expect: "the limit holds", Tests: []string{"internal/registry.TestTheLimitsOfATokenHoldForConcurrentRequests", "internal/registry.TestTheLimitOfSessionsHolds", "internal/registry.TestTheLimitOfCreationsHoldsForEveryMinute"}},
	{ID: "A56", Title: "Fields that name privileges, mounts or the loader", Expect: "refused", Tests: []string{"internal/server.TestErrorsOfInvalidRequestsNameTheFault", "internal/registry.TestAnInvalidRequestIsRefusedAndLeavesNothingBehind"}},

	// Egress.
	{ID: "A57", Title: "A session without egress", Expect: "no packet leaves", Tests: []string{"test/e2e.TestInsideASandboxThereIsNoNetwork", "test/e2e.TestASessionWithoutAnEgressPolicyHasNoNetworkAccess"}, Open: "packets are not counted at the host's devices"},
	{ID: "A58", Title: "Private and special addresses in each form", Expect: "refused", Tests: []string{"internal/egress.TestPrivateAndSpecialAddressesAreNotPublic", "internal/egress.TestAHostWithAPrivateOrSpecialAddressIsRefused", "internal/egress.TestADialRefusesALoopbackAddressThatIsAlreadyStored", "test/e2e.TestThePublicPolicyReachesNoPrivateAddress"}},
	{ID: "A59", Title: "Tricks with names", Expect: "one canonical form, or refused", Tests: []string{"internal/egress.TestAHostIsReadIntoOneCanonicalForm", "internal/egress.TestInvalidHostsAreRefused", "internal/egress.FuzzParseHost", "internal/egress.TestARequestToAnotherHostThanTheConnectionIsRefused", "internal/egress.TestASecondRequestForAnotherHostIsRefused"}},
	{ID: "A60", Title: "DNS answers that change", Expect: "only checked addresses", Tests: []string{"internal/egress.TestADialUsesTheAllowedAddressesOfTheFirstLookup"}},
	{ID: "A61", Title: "Data in names of DNS", Expect: "forbidden names are not looked up; lookups have limits", Tests: []string{"internal/egress.TestANameThatIsNotAllowedIsNotLookedUp", "internal/egress.TestTheDialerLimitsLookupsAndTheirBytes"}},
	{ID: "A62", Title: "The server, its proxy and other sessions over the network", Expect: "not reached", Tests: []string{"test/hostile.TestAttacks/A14", "internal/agent.TestThePortsOfEgressProxiesAreRefused", "internal/egress.TestOnlyAllowedPortsAreReached"}},
	{ID: "A63", Title: "The value of a secret", Expect: "only its host gets it, over TLS", Tests: []string{"internal/egress.TestOnlyTheHostOfASecretGetsItsValue", "internal/egress.TestASecretIsNotSentWithoutTLS", "internal/egress.TestAHostWithAnUntrustedCertificateGetsNoRequest", "test/e2e.TestCodeUsesASecretThatItCannotRead"}},
	{ID: "A64", Title: "Hostile packages", Expect: "wrong hashes and foreign indexes are refused; installations have no network", Tests: []string{"test/e2e.TestAFileWithAWrongHashIsNotInstalled", "test/e2e.TestAPrivateNameNeverComesFromAnotherIndex", "test/e2e.TestCodeHasNoNetworkAccessDuringAnInstallation", "test/e2e.TestHostilePackageRequestsAreAnsweredAndLimited"}},
}
