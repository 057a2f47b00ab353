package cellhold

import "time"

// RunMode says how the code of a run is executed.
type RunMode string

// The modes. Empty means RunCell for Python without stdin, args and tests, and RunProgram otherwise.
const (
	RunCell    RunMode = "cell"    // in a Jupyter kernel: with figures, the value of the last expression and the exception
	RunProgram RunMode = "program" // as a program: with arguments, standard input and an exit status
)

// RunRequest describes one run. A run has its own sandbox, which is used once and then destroyed.
type RunRequest struct {
	Code     string   `json:"code,omitempty" doc:"Source code, at most 4 MiB. Send either code or command." example:"print(6 * 7)"`
	Language string   `json:"language,omitempty" maxLength:"40" doc:"Language of the code: python, bash, javascript, typescript, r, c, cpp, go, rust or java. The image must have its tools; the image polyglot has all. Absent means python." example:"python"`
	Mode     RunMode  `json:"mode,omitempty" enum:"cell,program" doc:"cell: in a Jupyter kernel, with figures, values and the exception. program: as a program, with args, stdin and an exit status. Absent means cell for Python without stdin, args and tests, and program otherwise."`
	Command  string   `json:"command,omitempty" doc:"Line for a shell, in place of code. It can use the files of the request." example:"python3 -m pytest -q"`
	Args     []string `json:"args,omitempty" doc:"Arguments of the program. With tests, they come before the arguments of each test."`
	Stdin    string   `json:"stdin,omitempty" doc:"Standard input of the program. Absent means an empty input."`

	Files    []RunFile         `json:"files,omitempty" maxItems:"100" doc:"Files that the sandbox has before the code runs."`
	Packages []string          `json:"packages,omitempty" maxItems:"100" doc:"Requirements to install before the code runs, in pip's syntax." example:"[\"tabulate>=0.9\"]"`
	Env      map[string]string `json:"env,omitempty" maxProperties:"100" doc:"Variables to add to the environment of the code, at most 64 KiB."`

	Template string  `json:"template,omitempty" maxLength:"256" doc:"Name of a template. Absent means the default template, or none if image names another image." example:"python"`
	Image    string  `json:"image,omitempty" maxLength:"256" doc:"Name of an image. Absent means the template's image, or the server's default." example:"python"`
	Limits   Limits  `json:"limits,omitzero" doc:"Limits of the sandbox. Absent members mean the server's defaults."`
	Egress   *Egress `json:"egress,omitempty" doc:"Network access of the code. Absent means the server's default."`

	Timeout  float64   `json:"timeout,omitempty" minimum:"0" maximum:"3600" doc:"Maximum time of the code in seconds; with tests, of each test. Absent or 0 means the deadline, with tests 10 s." example:"10"`
	Deadline float64   `json:"deadline,omitempty" minimum:"0" maximum:"3600" doc:"Maximum time of the whole run in seconds, with the start of the sandbox, the packages and the compiler. Absent or 0 means 600." example:"60"`
	Tests    []RunTest `json:"tests,omitempty" maxItems:"500" doc:"Tests of the program. The program is compiled once, and runs once for each test, one after the other, in the same sandbox. The expected outputs never enter the sandbox."`
}

// RunFile is a file that a run gets.
type RunFile struct {
	Path     string `json:"path" minLength:"1" maxLength:"4095" doc:"Path in the sandbox, absolute or relative to /workspace. It must not contain \"..\"." example:"data/sales.csv"`
	Content  string `json:"content" doc:"Content of the file." example:"day,sales\n1,48\n"`
	Encoding string `json:"encoding,omitempty" enum:"base64" doc:"base64 if content is encoded in base64. Absent means UTF-8 text."`
}

// RunMatch says how the output of a test is compared with the expected output.
type RunMatch string

// The comparisons. Empty means RunTrimmed.
const (
	RunTrimmed RunMatch = "trimmed" // ignores white space at the ends of lines, and empty lines at the end
	RunExact   RunMatch = "exact"   // compares all bytes
)

// RunTest is one test of a run's program. It passes if the exit status and the output are as expected.
type RunTest struct {
	Stdin  string   `json:"stdin,omitempty" doc:"Standard input of the program." example:"6 7\n"`
	Args   []string `json:"args,omitempty" doc:"Arguments of the program."`
	Stdout *string  `json:"stdout,omitempty" doc:"Expected standard output, at most 1 MiB. Absent means that the output is not compared." example:"42\n"`
	Match  RunMatch `json:"match,omitempty" enum:"trimmed,exact" doc:"trimmed: ignores white space at the ends of lines, and empty lines at the end. exact: compares all bytes. Absent means trimmed."`
	Exit   int      `json:"exit_code,omitempty" minimum:"0" maximum:"255" doc:"Expected exit status. Absent means 0."`
}

// RunStatus is the result of a run.
type RunStatus string

// The results of a run.
const (
	RunOK           RunStatus = "ok"            // the code ended without an error, and all tests passed
	RunFailed       RunStatus = "failed"        // a test did not pass
	RunException    RunStatus = "error"         // the code of a cell raised an exception
	RunExit         RunStatus = "exit"          // the exit status is not 0
	RunSignal       RunStatus = "signal"        // a signal ended the code
	RunTimeout      RunStatus = "timeout"       // the timeout or the deadline passed
	RunOOM          RunStatus = "oom"           // the sandbox had no memory left
	RunCompileError RunStatus = "compile_error" // the compiler refused the code, which did not run
	RunLost         RunStatus = "lost"          // the sandbox ended, or the server; the code can have run in part
	RunRefused      RunStatus = "refused"       // the code did not run; only in a batch, see RunResult.Error
)

// RunResult is the result of one run. Failing code is a result and not an error.
type RunResult struct {
	Index     int              `json:"index" doc:"Position of the run in its batch, from 0."`
	Status    RunStatus        `json:"status" enum:"ok,failed,error,exit,signal,timeout,oom,compile_error,lost,refused" doc:"Result of the run. ok: the code ended without an error, and all tests passed. failed: a test did not pass. error: the code of a cell raised an exception. compile_error: the code did not run, and stdout and stderr are those of the compiler. lost: the sandbox or the server ended. refused: the code did not run, and error has the reason; only in a batch."`
	Cause     string           `json:"cause,omitempty" doc:"One sentence that explains the status, if it needs one."`
	Exit      *int             `json:"exit_code,omitempty" doc:"Exit status. If a signal ended the program, 128 plus the signal's number. For a cell, 0 or 1. Absent if there is none, and with tests."`
	Signal    string           `json:"signal,omitempty" doc:"Signal that ended the program." example:"KILL"`
	Stdout    CommandOutput    `json:"stdout" doc:"Standard output: all of it, or the first and the last 64 KiB."`
	Stderr    CommandOutput    `json:"stderr" doc:"Standard error, like stdout."`
	Outputs   []Output         `json:"outputs" doc:"Figures, displays and the value of the last expression of a cell, in notebook form, at most 4 MiB of JSON. Text that the code prints is in stdout and stderr."`
	Omitted   int              `json:"omitted_outputs,omitempty" doc:"Number of outputs that are omitted, because they are above the limits."`
	Exception *RunRaised       `json:"exception,omitempty" doc:"Exception of a cell."`
	Tests     []RunTestResult  `json:"tests" doc:"Results of the tests, in the order of the request. Empty if the code did not run."`
	Passed    int              `json:"passed" doc:"Number of tests that passed."`
	Files     []RunChangedFile `json:"files" doc:"Files below /workspace and /mnt/data/output that the code created or changed, at most 100. Empty with tests."`
	MoreFiles bool             `json:"more_files,omitempty" doc:"True if files does not list all files."`
	Usage     *Usage           `json:"usage,omitempty" doc:"Resources that the code used, measured for the whole sandbox. Without root, only the time is known."`
	Error     *RunError        `json:"error,omitempty" doc:"Why the code did not run, if the status is refused."`
}

// RunRaised is the exception of a cell.
type RunRaised struct {
	Name      string   `json:"ename" doc:"Class of the exception." example:"ValueError"`
	Value     string   `json:"evalue" doc:"Text of the exception."`
	Traceback []string `json:"traceback" doc:"Traceback with ANSI colours."`
}

// RunError is the reason why a run of a batch was refused.
type RunError struct {
	Kind   Kind   `json:"kind" enum:"invalid,not_found,conflict,denied,exhausted,unavailable,unsupported,internal" doc:"Kind of the error. Programs should decide by it." example:"denied"`
	Detail string `json:"detail" doc:"Message for people, with the remedy."`
}

// RunTestStatus is the result of one test.
type RunTestStatus string

// The results of a test.
const (
	TestPassed  RunTestStatus = "passed"
	TestFailed  RunTestStatus = "failed"  // the output differs from the expected one
	TestTimeout RunTestStatus = "timeout" // the timeout passed
	TestError   RunTestStatus = "error"   // the exit status is another one than the expected, or the test did not run
)

// RunTestResult is the result of one test of a run.
type RunTestResult struct {
	Status RunTestStatus `json:"status" enum:"passed,failed,timeout,error" doc:"Result of the test. failed: the output differs. error: the exit status is not the expected one, or the test did not run."`
	Cause  string        `json:"cause,omitempty" doc:"One sentence that explains the status, if it needs one."`
	Exit   *int          `json:"exit_code,omitempty" doc:"Exit status. Absent if there is none."`
	Stdout CommandOutput `json:"stdout" doc:"Standard output: all of it, or the first and the last 2 KiB."`
	Stderr CommandOutput `json:"stderr" doc:"Standard error, like stdout."`
	Wall   float64       `json:"wall_seconds" doc:"Seconds that the program ran."`
}

// RunChangedFile is a file that the code of a run created or changed.
type RunChangedFile struct {
	Path     string    `json:"path" doc:"Path in the sandbox. Bytes that are not UTF-8 are shown as U+FFFD." example:"/workspace/model.csv"`
	Escaped  string    `json:"escaped,omitempty" doc:"Percent-encoded path, if the path is not valid UTF-8."`
	Size     int64     `json:"size" doc:"Size in bytes." example:"48213"`
	Modified time.Time `json:"modified" doc:"Time of the last write."`
	Content  string    `json:"content" doc:"Content of the file, if it is at most 1 MiB, and at most 4 MiB with the files before it."`
	Encoding string    `json:"encoding,omitempty" enum:"base64" doc:"base64 if the content is not valid UTF-8, or has many control characters."`
	Omitted  bool      `json:"omitted,omitempty" doc:"True if the content is omitted, because of its size or because it could not be read."`
}
