// Generated from api/openapi.yaml by ts/tools/generate.mjs. Do not edit.
/**
 * The values of the HTTP API. Sizes are in bytes, durations in seconds, and times are texts of RFC 3339.
 *
 * A server can send fields that are not here. Text can come from untrusted code.
 */
export interface components {
    schemas: {
        AddKernel: {
            /** @description Working directory of the kernel: an absolute path of an existing directory. Absent means that of the session. */
            cwd?: string;
            /**
             * @description Id of the kernel in this session. Absent means an id made from the kernelspec's name.
             * @example bash
             */
            id?: string;
            /**
             * @description Name of the kernelspec. list-kernelspecs returns the available ones.
             * @example bash
             */
            spec: string;
        };
        AnswerInput: {
            /**
             * Format: int64
             * @description Number of the input_request event. Absent means the open question.
             * @example 7
             */
            request?: number;
            /**
             * @description Text that input() returns, without a line break, at most 1 MiB.
             * @example yes
             */
            value: string;
        };
        AttemptPage: {
            /** @description Attempts, oldest first, at most 1000. An attempt whose end is on a later page appears there again, with the same id. */
            attempts: components["schemas"]["EgressAttempt"][];
            /**
             * Format: int64
             * @description Send this as after to read the next page.
             */
            next: number;
        };
        Cell: {
            /** @description If true, the code can ask for input. */
            allow_stdin?: boolean;
            /** @description Images of a Markdown cell, by name. */
            attachments?: {
                [key: string]: unknown;
            };
            /**
             * Format: int64
             * @description Bytes of output that the cell produced, including displays and dropped output.
             */
            bytes?: number;
            /** @description One sentence that explains the status, if it needs one. */
            cause?: string;
            /**
             * @description Type of the cell, for cells of an uploaded notebook. Absent means code.
             * @enum {string}
             */
            cell_type?: "code" | "markdown" | "raw";
            /** @description Submitted source code. */
            code: string;
            /**
             * Format: date-time
             * @description Time at which the cell was done.
             */
            ended?: string;
            /**
             * Format: int64
             * @description Number in the kernel's prompt.
             */
            execution_count?: number;
            /** @description Format of the cell's figures. */
            figures?: components["schemas"]["Figures"];
            /** @description Files below /workspace and /mnt/data/output that were written while the cell ran, at most 100. If several kernels run, another kernel can have written them. */
            files?: components["schemas"]["CellFile"][];
            /**
             * Format: int64
             * @description Number of the first event of the cell.
             */
            first?: number;
            /**
             * @description Cell id.
             * @example cq7h2w9d4kx5n3vtb
             */
            id: string;
            /** @description The question, while the code waits for input. */
            input?: components["schemas"]["InputRequest"];
            /** @description Kernel that runs the cell. */
            kernel: string;
            /**
             * Format: int64
             * @description Number of the last event of the cell.
             */
            last?: number;
            /** @description Metadata of the cell from an uploaded notebook. */
            metadata?: {
                [key: string]: unknown;
            };
            /** @description True if more files were written than files lists. */
            more_files?: boolean;
            /**
             * Format: int64
             * @description Bytes of output that outputs omits.
             */
            omitted?: number;
            /**
             * @description Effect on the queued cells if this cell fails. Absent means continue.
             * @enum {string}
             */
            on_error?: "continue" | "cancel";
            /** @description Outputs in notebook form (nbformat 4.5). Progress bars show only their last state. */
            outputs: components["schemas"]["Output"][];
            /**
             * Format: int64
             * @description For a queued cell: number of cells before it, including the running one. Absent if the cell is next.
             */
            position?: number;
            /** @description Session of the cell. */
            session: string;
            /**
             * Format: date-time
             * @description Time at which the kernel received the cell. The timeout starts here.
             */
            started?: string;
            /**
             * @description State of the cell.
             * @enum {string}
             */
            state: "queued" | "running" | "done";
            /**
             * @description Result of the cell, if its state is done.
             * @enum {string}
             */
            status?: "ok" | "error" | "interrupted" | "timeout" | "cancelled" | "oom" | "signal" | "exit" | "lost";
            /**
             * Format: date-time
             * @description Time at which the server accepted the cell.
             */
            submitted: string;
            /** @description True if outputs has only the beginning and the end of a long output. get-cell-text returns more of the text. */
            truncated?: boolean;
            /** @description True after a rollback to an earlier checkpoint: the cell's effects are gone, and the notebook omits the cell. */
            undone?: boolean;
            /** @description Resources that the cell used, once it is done. */
            usage?: components["schemas"]["Usage"];
            /** @description True if the request's wait ended before the cell was done. The cell continues, and the HTTP status is 202. Send get-cell with wait to wait longer. */
            wait_over?: boolean;
        };
        CellFile: {
            /** @description Percent-encoded path, if the path is not valid UTF-8. */
            escaped?: string;
            /**
             * Format: date-time
             * @description Time of the last write.
             */
            modified: string;
            /**
             * @description Path in the sandbox. Bytes that are not UTF-8 are shown as U+FFFD.
             * @example /workspace/model.pt
             */
            path: string;
            /**
             * Format: int64
             * @description Size at the end of the cell, in bytes.
             * @example 48213
             */
            size: number;
        };
        CellList: {
            /** @description Cells of the session, oldest first. */
            cells: components["schemas"]["Cell"][];
        };
        CheckCode: {
            /**
             * @description Code to check, at most 4 MiB. It does not run.
             * @example for i in range(3):
             */
            code: string;
            /**
             * @description Kernel to ask. Absent means the session's first kernel.
             * @example python3
             */
            kernel?: string;
        };
        Checkpoint: {
            /**
             * Format: date-time
             * @description Time at which the checkpoint was made.
             */
            created: string;
            /**
             * Format: int64
             * @description Number of the session's newest event at that time.
             */
            last: number;
            /**
             * @description Name of the checkpoint, unique within the session.
             * @example before-the-join
             */
            name: string;
            /**
             * Format: int64
             * @description Size on disk, in bytes.
             */
            size: number;
        };
        CheckpointList: {
            /** @description Checkpoints of the session, oldest first. */
            checkpoints: components["schemas"]["Checkpoint"][];
        };
        Command: {
            /** @description Program and arguments, if the request had no shell line. */
            args?: string[];
            /** @description One sentence that explains the status, if it needs one. */
            cause?: string;
            /** @description Shell line, if the request had one. */
            command?: string;
            /** @description Working directory. Absent means /workspace. */
            cwd?: string;
            /**
             * Format: int64
             * @description Bytes of output that were not stored. They are in no event.
             */
            dropped?: number;
            /**
             * Format: date-time
             * @description Time at which the command was done.
             */
            ended?: string;
            /**
             * Format: int64
             * @description Exit status. If a signal ended the command, 128 plus the signal's number, as in a shell.
             */
            exit_code: number;
            /**
             * Format: int64
             * @description Number of the first event of the command.
             */
            first: number;
            /**
             * @description Command id.
             * @example x7kq2w9d4hx5n3vtb
             */
            id: string;
            /**
             * Format: int64
             * @description Number of the last event of the command.
             */
            last?: number;
            /**
             * Format: int64
             * @description Process id in the sandbox.
             * @example 212
             */
            pid?: number;
            /** @description Session of the command. */
            session: string;
            /**
             * @description Signal that ended the command.
             * @example KILL
             */
            signal?: string;
            /**
             * Format: date-time
             * @description Time at which the server accepted the command.
             */
            started: string;
            /**
             * @description State of the command.
             * @enum {string}
             */
            state: "running" | "done";
            /**
             * @description Result of the command, if its state is done.
             * @enum {string}
             */
            status?: "ok" | "exit" | "signal" | "timeout" | "oom" | "lost";
            /** @description Standard error. */
            stderr: components["schemas"]["CommandOutput"];
            /** @description Standard output, or the output of the terminal. */
            stdout: components["schemas"]["CommandOutput"];
            /** @description Label of the caller. */
            tag?: string;
            /** @description Initial size of the terminal, if the command has one. */
            tty?: components["schemas"]["Terminal"];
            /** @description True if the request's wait ended before the command was done. The command continues, and the HTTP status is 202. Send get-command with wait to wait longer. */
            wait_over?: boolean;
        };
        CommandList: {
            /** @description Commands of the session, oldest first. */
            commands: components["schemas"]["Command"][];
        };
        CommandOutput: {
            /**
             * Format: int64
             * @description Bytes that the command wrote.
             */
            bytes: number;
            /**
             * @description base64 if the output is not valid UTF-8. Then text and tail are each encoded in base64.
             * @enum {string}
             */
            encoding?: "base64";
            /**
             * Format: int64
             * @description Bytes that are omitted between text and tail.
             */
            omitted?: number;
            /** @description The end of the output, if bytes are omitted. */
            tail?: string;
            /** @description The output. If bytes are omitted, only its beginning. */
            text: string;
        };
        CompleteCode: {
            /**
             * @description Code to complete, at most 4 MiB.
             * @example pri
             */
            code: string;
            /**
             * Format: int64
             * @description Position of the cursor in the code, in Unicode characters. Absent means the end.
             * @example 3
             */
            cursor?: number;
            /**
             * @description Kernel to ask. Absent means the session's first kernel.
             * @example python3
             */
            kernel?: string;
        };
        Completeness: {
            /** @description Spaces and tabs for the beginning of the next line, if the code is incomplete. */
            indent?: string;
            /**
             * @description complete: the code can run. incomplete: it needs more lines. invalid: it can never run. unknown: the kernel cannot tell.
             * @enum {string}
             */
            status: "complete" | "incomplete" | "invalid" | "unknown";
        };
        Completion: {
            /**
             * Format: int64
             * @description Position in the code where the replaced part ends, in Unicode characters.
             */
            end: number;
            /** @description Texts that can replace the code from start to end, at most 1000. The kernel is not trusted: a text can have control characters. */
            matches: components["schemas"]["CompletionMatch"][];
            /**
             * Format: int64
             * @description Position in the code where the replaced part begins, in Unicode characters.
             */
            start: number;
            /** @description True if matches were left out, because there are too many or they are too long. */
            truncated?: boolean;
        };
        CompletionMatch: {
            /**
             * @description Text that replaces the code from start to end.
             * @example print
             */
            text: string;
            /**
             * @description Kind of the named object, such as function, module or instance, if the kernel tells it.
             * @example function
             */
            type?: string;
        };
        CreateSession: {
            /**
             * @description Action at the deadline. Absent means end.
             * @enum {string}
             */
            at_deadline?: "end" | "hibernate";
            /**
             * @description Working directory of the session's kernels and commands, and the base of relative paths: an absolute path of an existing directory. Absent means /workspace.
             * @example /home/user
             */
            cwd?: string;
            /** @description Network access of the session's code. Absent means the server's default. Access beyond the server's policy is refused. */
            egress?: components["schemas"]["Egress"];
            /** @description Variables to add to the environment of the session's kernels and commands, at most 64 KiB. The server does not return them. */
            env?: {
                [key: string]: string;
            };
            /** @description Default format of figures in the session's cells. */
            figures?: components["schemas"]["Figures"];
            /**
             * @description Name of an image. Absent means the template's image, or the server's default.
             * @example python
             */
            image?: string;
            /**
             * Format: double
             * @description Seconds until the session's deadline. Absent or 0 means no deadline: the session ends when it is idle.
             * @example 300
             */
            lifetime?: number;
            /** @description Limits of the session's sandbox. Absent members mean the server's defaults. Limits above the server's maximum are refused. */
            limits?: components["schemas"]["Limits"];
            /** @description Your notes, stored and returned unchanged. Keys and values have at most 1 KiB. */
            metadata?: {
                [key: string]: string;
            };
            /** @description If true, everybody can reach the ports of the session through hosts of the server (--host), without a token. Refused if the server does not allow it (--public-ports). */
            public_ports?: boolean;
            /**
             * @description Use or request that resumes the session after a requested hibernation, or after one at the deadline. Absent means use.
             * @enum {string}
             */
            resume?: "use" | "request";
            /** @description Values that code can use without seeing them. Environment variables have placeholders, and the server replaces them in headers of HTTPS requests to the secret's host. The server never returns the values. */
            secrets?: components["schemas"]["Secret"][];
            /**
             * @description Code that runs without output after each start of the kernel, at most 64 KiB. If it fails, the session starts anyway, and the detail of a kernel_state event has the reason.
             * @example import math
             */
            startup?: string;
            /**
             * @description Name of a template. Absent means the default template, or none if image names another image. The template sets all values that the request omits.
             * @example python
             */
            template?: string;
            /**
             * @description Label of the person or agent. Never used as a path.
             * @example ann
             */
            user?: string;
        };
        Directory: {
            /** @description Entries, sorted by the bytes of their names. */
            entries: components["schemas"]["FileInfo"][];
            /**
             * @description Percent-encoded name. Send it as after to get the next page. Absent on the last page.
             * @example part-01000.csv
             */
            next?: string;
        };
        Egress: {
            /**
             * @description Hosts of an allowlist. example.org matches only that name; *.example.org matches its subdomains.
             * @example [
             *       "example.org",
             *       "*.example.org"
             *     ]
             */
            hosts?: string[];
            /**
             * @description none: no network access. allowlist: only the named hosts. public: the internet, without private, local and metadata addresses.
             * @enum {string}
             */
            policy?: "none" | "allowlist" | "public";
        };
        EgressAttempt: {
            /** @description Address of the connection. */
            address?: string;
            /**
             * @description Result of the attempt.
             * @enum {string}
             */
            decision: "allowed" | "refused" | "failed";
            /**
             * Format: date-time
             * @description Time at which the connection ended. Absent while the connection is open, if a restart of the server ended it, and in a fork that was made while it was open.
             */
            ended?: string;
            /**
             * @description Requested host name or address, in canonical form if it has one.
             * @example example.org
             */
            host: string;
            /** @description Attempt id, unique within the session. */
            id: string;
            /**
             * Format: int64
             * @description Number of attempts since the previous entry that are not listed, because there were too many.
             */
            more?: number;
            /**
             * Format: int64
             * @description Requested port.
             * @example 443
             */
            port: number;
            /** @description Why the attempt was refused, or the connection failed or broke off. */
            reason?: string;
            /**
             * Format: int64
             * @description Bytes to the sandbox.
             */
            received?: number;
            /**
             * Format: int64
             * @description Bytes from the sandbox.
             */
            sent?: number;
            /**
             * Format: date-time
             * @description Time of the attempt.
             */
            time: string;
        };
        Event: {
            /** @description Cell of the event. */
            cell?: string;
            /** @description Command of the event. */
            command?: string;
            /** @description Content, which depends on the type. Outputs have Jupyter's content. */
            content: unknown;
            /** @description Kernel of the event. */
            kernel?: string;
            /**
             * Format: int64
             * @description Number of the event within its session. Send it as after to read the next events.
             */
            seq: number;
            /**
             * Format: date-time
             * @description Time of the event.
             */
            time: string;
            /**
             * @description Type of the event. Ignore types that you do not know.
             * @example stream
             */
            type: string;
        };
        EventPage: {
            /** @description Events in order. Empty if there are none after the given number yet. */
            events: components["schemas"]["Event"][];
            /**
             * Format: int64
             * @description Send this as after to read the next page.
             */
            next: number;
        };
        Figures: {
            /**
             * Format: int64
             * @description Resolution of bitmap figures in dots per inch. 100 is usual.
             * @example 200
             */
            dpi?: number;
            /**
             * @description Image formats. Each figure has all of them in one output.
             * @example [
             *       "png",
             *       "svg"
             *     ]
             */
            formats?: ("png" | "svg" | "jpeg" | "pdf")[];
        };
        FileChange: {
            /** @description True if the path is a directory. */
            directory?: boolean;
            /** @description Percent-encoded path, if the path is not valid UTF-8. */
            escaped?: string;
            /**
             * @description Path that changed.
             * @example /workspace/model.pt
             */
            path?: string;
            /**
             * @description Type of the change. overflow means that changes were missed: list the directory again.
             * @enum {string}
             */
            type: "created" | "modified" | "removed" | "overflow";
        };
        FileInfo: {
            /**
             * @description Percent-encoded path, if the path is not valid UTF-8. Requests accept every path in this form.
             * @example /workspace/caf%E9.txt
             */
            escaped?: string;
            /**
             * @description Permission bits in octal.
             * @example 0644
             */
            mode: string;
            /**
             * Format: date-time
             * @description Time of the last write.
             */
            modified: string;
            /**
             * @description Path in the sandbox. Bytes that are not UTF-8 are shown as U+FFFD.
             * @example /workspace/data/sales.csv
             */
            path: string;
            /**
             * Format: int64
             * @description Size of a regular file in bytes, otherwise 0.
             * @example 48213
             */
            size: number;
            /**
             * @description Target of a symbolic link.
             * @example ../shared/sales.csv
             */
            target?: string;
            /**
             * @description Type of the file. other is a device, a pipe or a socket.
             * @enum {string}
             */
            type: "file" | "directory" | "symlink" | "other";
            /**
             * @description Version of the content. The download has it as ETag.
             * @example 18a1f2c3d4e5f607-bc55-2a
             */
            version: string;
        };
        FileList: {
            /** @description Files, sorted by path. */
            files: components["schemas"]["OutputFile"][];
        };
        FilesWritten: {
            /** @description Files in the order of the form. */
            files: components["schemas"]["FileInfo"][];
        };
        ForkSession: {
            /**
             * @description Name of the checkpoint to start from. Absent means the present state of the session.
             * @example before-the-join
             */
            checkpoint?: string;
            /**
             * Format: int64
             * @description Number of forks. Absent means one.
             * @example 4
             */
            count?: number;
        };
        Health: {
            /**
             * @description Always ok. Any other state is an error.
             * @example ok
             * @enum {string}
             */
            status: "ok";
        };
        HistoryEntry: {
            /** @description Cell that ran the code. */
            cell: string;
            /** @description Submitted source code. */
            code: string;
            /**
             * Format: int64
             * @description Number in the kernel's prompt. Absent if the cell did not run.
             */
            execution_count?: number;
            /** @description Kernel of the cell. */
            kernel: string;
            /**
             * Format: date-time
             * @description Time at which the server accepted the cell.
             */
            submitted: string;
        };
        HistoryList: {
            /** @description Code of the newest cells, the oldest of them first, at most 4 MiB. */
            history: components["schemas"]["HistoryEntry"][];
        };
        ImportedNotebook: {
            /** @description Ids of the new cells, in order. */
            cells: string[];
        };
        InputRequest: {
            /** @description If true, do not show the typed text. */
            password: boolean;
            /** @description Text that the code shows before the input. */
            prompt: string;
            /**
             * Format: int64
             * @description Number of the input_request event. Send it with the answer, so that the answer cannot reach another question.
             */
            request: number;
        };
        InputTaken: {
            /**
             * Format: int64
             * @description Number of input bytes that the server accepted since the command started.
             */
            offset: number;
        };
        InspectCode: {
            /**
             * @description Code that names the object, at most 4 MiB.
             * @example print
             */
            code: string;
            /**
             * Format: int64
             * @description Position in the code of the object's name, in Unicode characters. Absent means the end.
             * @example 5
             */
            cursor?: number;
            /**
             * Format: int64
             * @description 1 adds the source code of the object, if the kernel has it.
             * @example 1
             */
            detail?: number;
            /**
             * @description Kernel to ask. Absent means the session's first kernel.
             * @example python3
             */
            kernel?: string;
        };
        Inspection: {
            /** @description Description of the object by MIME type: text/plain, and text/html from some kernels. Texts of Python have colours of terminals. */
            data: {
                [key: string]: unknown;
            };
            /** @description True if the kernel knows an object at the position. */
            found: boolean;
            /** @description True if a text was cut, or if a text was left out. */
            truncated?: boolean;
        };
        InstallPackages: {
            /**
             * @description Requirements in pip's syntax: names with extras, versions, markers and hashes. URLs, paths and options are refused.
             * @example [
             *       "tabulate>=0.9"
             *     ]
             */
            requirements?: string[];
            /** @description Text of a requirements file, such as a lock file. */
            requirements_file?: string;
        };
        Installation: {
            /** @description Packages that were added, changed or removed, by name. Empty if all packages were present before. */
            changes: components["schemas"]["PackageChange"][];
            /** @description New or changed files that every Python process runs or reads at its start. Most packages have none. */
            hooks: components["schemas"]["StartHook"][];
            /** @description Modules of the requested packages, the likeliest first. */
            imports: string[];
            /** @description Output of the installer. */
            log: string;
            /** @description Requested packages that were present before, in a version that fits. */
            present: components["schemas"]["Package"][];
            /** @description Modules in running kernels that are out of date: their package has another version now, or they looked for a package before it was installed. Restart the kernel to reload them. */
            stale: components["schemas"]["StaleModule"][];
            /** @description Warnings for the user, each one sentence. */
            warnings: string[];
        };
        Kernel: {
            /**
             * @description Why the kernel died, if its state is dead.
             * @enum {string}
             */
            cause?: "oom" | "signal" | "exit" | "lost" | "timeout";
            /** @description Working directory, if it differs from the session's. */
            cwd?: string;
            /**
             * @description Kernel id, unique within the session.
             * @example python3
             */
            id: string;
            /**
             * @description Programming language.
             * @example python
             */
            language?: string;
            /**
             * Format: int64
             * @description Number of cells in its queue.
             */
            queued: number;
            /**
             * @description Kernelspec of the kernel.
             * @example python3
             */
            spec?: string;
            /** @description Code that runs without output after each start of the kernel, if it is not the first kernel. */
            startup?: string;
            /**
             * @description State of the kernel.
             * @enum {string}
             */
            state: "starting" | "idle" | "busy" | "restarting" | "dead";
        };
        KernelList: {
            /** @description Kernels of the session, in the order of their creation. A list omits the startup code. */
            kernels: components["schemas"]["Kernel"][];
        };
        KernelSpec: {
            /**
             * @description Name to show to people.
             * @example Bash
             */
            display_name?: string;
            /**
             * @description Programming language.
             * @example bash
             */
            language?: string;
            /**
             * @description Name of the kernelspec, used to start such a kernel.
             * @example bash
             */
            name: string;
        };
        KernelSpecList: {
            /** @description Kernelspecs in the session's sandbox, by name. */
            kernelspecs: components["schemas"]["KernelSpec"][];
        };
        Limits: {
            /**
             * Format: double
             * @description CPU cores. 0.5 is half a core.
             * @example 1
             */
            cpu?: number;
            /**
             * @description Bytes that code can write outside /tmp and /mnt/data/output. Requests can also use a text such as "2GiB".
             * @example 1073741824
             */
            disk?: number | string;
            /**
             * @description Memory in bytes, including tmpfs. Requests can also use a text such as "2GiB".
             * @example 1073741824
             */
            memory?: number | string;
            /**
             * @description Size of /mnt/data/output in bytes. Requests can also use a text such as "2GiB".
             * @example 268435456
             */
            output?: number | string;
            /**
             * Format: int64
             * @description Maximum number of processes and threads at the same time.
             * @example 256
             */
            processes?: number;
            /**
             * @description Size of /tmp in bytes. Requests can also use a text such as "2GiB".
             * @example 268435456
             */
            tmp?: number | string;
        };
        MakeCheckpoint: {
            /**
             * @description Name of the checkpoint: letters, digits, '.', '_' and '-'.
             * @example before-the-join
             */
            name: string;
        };
        Output: {
            /**
             * Format: int64
             * @description Bytes of the whole text, if truncated.
             */
            bytes?: number;
            /** @description Result by MIME type. Always present for display_data and execute_result. A value is text. If the type is application/json or ends with +json, the value can be any JSON. */
            data?: {
                [key: string]: unknown;
            };
            /** @description Id of a display that later code can update (display_data, execute_result). */
            display_id?: string;
            /** @description Class of the exception. Always present for error. */
            ename?: string;
            /** @description Text of the exception. Always present for error. */
            evalue?: string;
            /**
             * Format: int64
             * @description Number in the kernel's prompt, or null. Always present for execute_result.
             */
            execution_count?: number | null;
            /** @description Metadata by MIME type or name. Always present for display_data and execute_result. */
            metadata?: {
                [key: string]: unknown;
            };
            /** @description stdout or stderr. Always present for stream. */
            name?: string;
            /**
             * Format: int64
             * @description Bytes that are missing, if truncated.
             */
            omitted?: number;
            /**
             * @description Type of the output.
             * @enum {string}
             */
            output_type: "stream" | "display_data" | "execute_result" | "error";
            /** @description Text. Always present for stream. */
            text?: string;
            /** @description Traceback with ANSI colours. Always present for error. */
            traceback?: string[];
            /** @description True if text has only the beginning and the end (stream). */
            truncated?: boolean;
        };
        OutputFile: {
            /**
             * Format: date-time
             * @description Time of the last write.
             */
            modified: string;
            /**
             * @description Path below /mnt/data/output.
             * @example plots/sales.png
             */
            path: string;
            /**
             * Format: int64
             * @description Size in bytes.
             * @example 48213
             */
            size: number;
        };
        Package: {
            /**
             * @description Normalised name of the package.
             * @example tabulate
             */
            name: string;
            /** @description SHA-256 digest of the installed file, as the server received it. */
            sha256?: string;
            /**
             * @description Installed version.
             * @example 0.9.0
             */
            version: string;
        };
        PackageChange: {
            /**
             * @description Version now. Absent for a removed package.
             * @example 0.9.0
             */
            after?: string;
            /** @description Version before. Absent for a new package. */
            before?: string;
            /** @description Modules that the package provides. */
            modules: string[];
            /**
             * @description Normalised name of the package.
             * @example tabulate
             */
            name: string;
        };
        PackageList: {
            /** @description Packages that differ from the image, by name. */
            packages: components["schemas"]["Package"][];
        };
        PortAccess: {
            /**
             * @description Header of requests to a host of a port.
             * @example E2b-Traffic-Access-Token
             */
            header: string;
            /**
             * @description Hosts of a port, with PORT in place of its number. Empty if the operator set no --host. The port of the server follows as usual.
             * @example [
             *       "PORT-sk3v7q2m9xw4tz6hb.cells.example"
             *     ]
             */
            hosts: string[];
            /**
             * @description URL path of a port, with PORT in place of its number. Send your token with each request.
             * @example /v1/sessions/sk3v7q2m9xw4tz6hb/ports/PORT/
             */
            path: string;
            /** @description If true, everybody can reach the ports through the hosts, without a token. */
            public: boolean;
            /** @description Value of the header. It opens only the ports of this session. Absent if the server needs no tokens. */
            token?: string;
        };
        Problem: {
            /**
             * @description Message for people.
             * @example Session not found.
             */
            detail: string;
            /** @description Invalid parts of the request. */
            errors?: components["schemas"]["ProblemField"][];
            /**
             * @description Kind of the error. Programs should decide by it.
             * @example not_found
             * @enum {string}
             */
            kind: "invalid" | "not_found" | "conflict" | "denied" | "exhausted" | "unavailable" | "unsupported" | "internal";
            /**
             * @description Id of this request in the server's log.
             * @example rgv2q7m4kx9w3tz6hb5ndcjpfa
             */
            request_id: string;
            /**
             * Format: int64
             * @description HTTP status.
             * @example 404
             */
            status: number;
            /**
             * @description Text of the HTTP status.
             * @example Not Found
             */
            title: string;
        };
        ProblemField: {
            /**
             * @description Part of the request.
             * @example body.timeout
             */
            location?: string;
            /**
             * @description Error in this part.
             * @example expected number
             */
            message: string;
        };
        RollBack: {
            /**
             * @description Name of the checkpoint to restore.
             * @example before-the-join
             */
            checkpoint: string;
        };
        RunChangedFile: {
            /** @description Content of the file, if it is at most 1 MiB, and at most 4 MiB with the files before it. */
            content: string;
            /**
             * @description base64 if the content is not valid UTF-8, or has many control characters.
             * @enum {string}
             */
            encoding?: "base64";
            /** @description Percent-encoded path, if the path is not valid UTF-8. */
            escaped?: string;
            /**
             * Format: date-time
             * @description Time of the last write.
             */
            modified: string;
            /** @description True if the content is omitted, because of its size or because it could not be read. */
            omitted?: boolean;
            /**
             * @description Path in the sandbox. Bytes that are not UTF-8 are shown as U+FFFD.
             * @example /workspace/model.csv
             */
            path: string;
            /**
             * Format: int64
             * @description Size in bytes.
             * @example 48213
             */
            size: number;
        };
        RunError: {
            /** @description Message for people, with the remedy. */
            detail: string;
            /**
             * @description Kind of the error. Programs should decide by it.
             * @example denied
             * @enum {string}
             */
            kind: "invalid" | "not_found" | "conflict" | "denied" | "exhausted" | "unavailable" | "unsupported" | "internal";
        };
        RunFile: {
            /**
             * @description Content of the file.
             * @example day,sales
             *     1,48
             */
            content: string;
            /**
             * @description base64 if content is encoded in base64. Absent means UTF-8 text.
             * @enum {string}
             */
            encoding?: "base64";
            /**
             * @description Path in the sandbox, absolute or relative to /workspace. It must not contain "..".
             * @example data/sales.csv
             */
            path: string;
        };
        RunRaised: {
            /**
             * @description Class of the exception.
             * @example ValueError
             */
            ename: string;
            /** @description Text of the exception. */
            evalue: string;
            /** @description Traceback with ANSI colours. */
            traceback: string[];
        };
        RunRequest: {
            /** @description Arguments of the program. With tests, they come before the arguments of each test. */
            args?: string[];
            /**
             * @description Source code, at most 4 MiB. Send either code or command.
             * @example print(6 * 7)
             */
            code?: string;
            /**
             * @description Line for a shell, in place of code. It can use the files of the request.
             * @example python3 -m pytest -q
             */
            command?: string;
            /**
             * Format: double
             * @description Maximum time of the whole run in seconds, with the start of the sandbox, the packages and the compiler. Absent or 0 means 600.
             * @example 60
             */
            deadline?: number;
            /** @description Network access of the code. Absent means the server's default. */
            egress?: components["schemas"]["Egress"];
            /** @description Variables to add to the environment of the code, at most 64 KiB. */
            env?: {
                [key: string]: string;
            };
            /** @description Files that the sandbox has before the code runs. */
            files?: components["schemas"]["RunFile"][];
            /**
             * @description Name of an image. Absent means the template's image, or the server's default.
             * @example python
             */
            image?: string;
            /**
             * @description Language of the code: python, bash, javascript, typescript, r, c, cpp, go, rust or java. The image must have its tools; the image polyglot has all. Absent means python.
             * @example python
             */
            language?: string;
            /** @description Limits of the sandbox. Absent members mean the server's defaults. */
            limits?: components["schemas"]["Limits"];
            /**
             * @description cell: in a Jupyter kernel, with figures, values and the exception. program: as a program, with args, stdin and an exit status. Absent means cell for Python without stdin, args and tests, and program otherwise.
             * @enum {string}
             */
            mode?: "cell" | "program";
            /**
             * @description Requirements to install before the code runs, in pip's syntax.
             * @example [
             *       "tabulate>=0.9"
             *     ]
             */
            packages?: string[];
            /** @description Standard input of the program. Absent means an empty input. */
            stdin?: string;
            /**
             * @description Name of a template. Absent means the default template, or none if image names another image.
             * @example python
             */
            template?: string;
            /** @description Tests of the program. The program is compiled once, and runs once for each test, one after the other, in the same sandbox. The expected outputs never enter the sandbox. */
            tests?: components["schemas"]["RunTest"][];
            /**
             * Format: double
             * @description Maximum time of the code in seconds; with tests, of each test. Absent or 0 means the deadline, with tests 10 s.
             * @example 10
             */
            timeout?: number;
        };
        RunResult: {
            /** @description One sentence that explains the status, if it needs one. */
            cause?: string;
            /** @description Why the code did not run, if the status is refused. */
            error?: components["schemas"]["RunError"];
            /** @description Exception of a cell. */
            exception?: components["schemas"]["RunRaised"];
            /**
             * Format: int64
             * @description Exit status. If a signal ended the program, 128 plus the signal's number. For a cell, 0 or 1. Absent if there is none, and with tests.
             */
            exit_code?: number;
            /** @description Files below /workspace and /mnt/data/output that the code created or changed, at most 100. Empty with tests. */
            files: components["schemas"]["RunChangedFile"][];
            /**
             * Format: int64
             * @description Position of the run in its batch, from 0.
             */
            index: number;
            /** @description True if files does not list all files. */
            more_files?: boolean;
            /**
             * Format: int64
             * @description Number of outputs that are omitted, because they are above the limits.
             */
            omitted_outputs?: number;
            /** @description Figures, displays and the value of the last expression of a cell, in notebook form, at most 4 MiB of JSON. Text that the code prints is in stdout and stderr. */
            outputs: components["schemas"]["Output"][];
            /**
             * Format: int64
             * @description Number of tests that passed.
             */
            passed: number;
            /**
             * @description Signal that ended the program.
             * @example KILL
             */
            signal?: string;
            /**
             * @description Result of the run. ok: the code ended without an error, and all tests passed. failed: a test did not pass. error: the code of a cell raised an exception. compile_error: the code did not run, and stdout and stderr are those of the compiler. lost: the sandbox or the server ended. refused: the code did not run, and error has the reason; only in a batch.
             * @enum {string}
             */
            status: "ok" | "failed" | "error" | "exit" | "signal" | "timeout" | "oom" | "compile_error" | "lost" | "refused";
            /** @description Standard error, like stdout. */
            stderr: components["schemas"]["CommandOutput"];
            /** @description Standard output: all of it, or the first and the last 64 KiB. */
            stdout: components["schemas"]["CommandOutput"];
            /** @description Results of the tests, in the order of the request. Empty if the code did not run. */
            tests: components["schemas"]["RunTestResult"][];
            /** @description Resources that the code used, measured for the whole sandbox. Without root, only the time is known. */
            usage?: components["schemas"]["Usage"];
        };
        RunTest: {
            /** @description Arguments of the program. */
            args?: string[];
            /**
             * Format: int64
             * @description Expected exit status. Absent means 0.
             */
            exit_code?: number;
            /**
             * @description trimmed: ignores white space at the ends of lines, and empty lines at the end. exact: compares all bytes. Absent means trimmed.
             * @enum {string}
             */
            match?: "trimmed" | "exact";
            /**
             * @description Standard input of the program.
             * @example 6 7
             */
            stdin?: string;
            /**
             * @description Expected standard output, at most 1 MiB. Absent means that the output is not compared.
             * @example 42
             */
            stdout?: string;
        };
        RunTestResult: {
            /** @description One sentence that explains the status, if it needs one. */
            cause?: string;
            /**
             * Format: int64
             * @description Exit status. Absent if there is none.
             */
            exit_code?: number;
            /**
             * @description Result of the test. failed: the output differs. error: the exit status is not the expected one, or the test did not run.
             * @enum {string}
             */
            status: "passed" | "failed" | "timeout" | "error";
            /** @description Standard error, like stdout. */
            stderr: components["schemas"]["CommandOutput"];
            /** @description Standard output: all of it, or the first and the last 2 KiB. */
            stdout: components["schemas"]["CommandOutput"];
            /**
             * Format: double
             * @description Seconds that the program ran.
             */
            wall_seconds: number;
        };
        Secret: {
            /**
             * @description Host that receives the secret. The session's egress must allow it.
             * @example api.example.org
             */
            host: string;
            /**
             * @description Environment variable that has a placeholder for the value.
             * @example API_KEY
             */
            name: string;
            /**
             * @description The secret value. Outside the sandbox, the server replaces the placeholder with it in headers of HTTPS requests to that host.
             * @example s3cr3t
             */
            value: string;
        };
        SecretInfo: {
            /** @description Host that receives the secret. */
            host: string;
            /** @description Environment variable that has a placeholder for the value. */
            name: string;
        };
        SendSignal: {
            /**
             * @description Name of the signal, with or without SIG, or its number.
             * @example TERM
             */
            signal: string;
        };
        Session: {
            /**
             * @description Action at the deadline. A session that is busy hibernates as soon as it is not.
             * @enum {string}
             */
            at_deadline?: "end" | "hibernate";
            /** @description Checkpoint of the last rollback. */
            checkpoint?: string;
            /**
             * Format: date-time
             * @description Time of creation.
             */
            created: string;
            /** @description Working directory of its kernels and commands, and the base of relative paths. Absent means /workspace. */
            cwd?: string;
            /**
             * Format: date-time
             * @description Time at which the session ends or hibernates, even if it is used.
             */
            deadline?: string;
            /** @description Network access of its code. */
            egress: components["schemas"]["Egress"];
            /**
             * Format: date-time
             * @description Time at which the session ends if it is not used before.
             */
            expires: string;
            /** @description Default format of figures in its cells. */
            figures?: components["schemas"]["Figures"];
            /**
             * @description Session id.
             * @example sk3v7q2m9xw4tz6hb
             */
            id: string;
            /**
             * @description Name of the image of its sandbox.
             * @example python
             */
            image: string;
            /** @description Kernels of the session. */
            kernels: components["schemas"]["Kernel"][];
            /** @description Limits of its sandbox. */
            limits: components["schemas"]["Limits"];
            /** @description Notes of the caller, stored and returned unchanged. */
            metadata?: {
                [key: string]: string;
            };
            /** @description Installed packages that differ from the image. They are lost when the sandbox ends. */
            packages?: components["schemas"]["Package"][];
            /** @description Session from which this one was forked. */
            parent?: string;
            /** @description If true, everybody can reach the ports of the session through hosts of the server, without a token. */
            public_ports?: boolean;
            /**
             * @description Why the session ended.
             * @enum {string}
             */
            reason?: "asked" | "expired" | "failed" | "lost";
            /**
             * @description Use or request that resumes the session after a requested hibernation, or after one at the deadline. use: the next use. request: only a resume request. Absent means use.
             * @enum {string}
             */
            resume?: "use" | "request";
            /** @description Secrets of the session, without their values. */
            secrets?: components["schemas"]["SecretInfo"][];
            /** @description Code that runs without output after each start of the kernel. */
            startup?: string;
            /**
             * @description State of the session.
             * @enum {string}
             */
            state: "starting" | "ready" | "hibernated" | "ended";
            /** @description Template from which the session was created. */
            template?: string;
            /**
             * Format: date-time
             * @description Time of the last use by a caller or a cell.
             */
            used: string;
            /** @description Label of the person or agent, as given at creation. Never used as a path. */
            user?: string;
        };
        SessionList: {
            /** @description Sessions of the caller, newest first. */
            sessions: components["schemas"]["Session"][];
        };
        SetDeadline: {
            /**
             * @description Action at the deadline. Absent means the present action, or end.
             * @enum {string}
             */
            at_deadline?: "end" | "hibernate";
            /**
             * Format: double
             * @description Seconds from now to the deadline.
             * @example 300
             */
            lifetime: number;
        };
        StaleModule: {
            /** @description True if the module belongs to another package, which tried to import this package before it was installed. Python can remember the failed import. */
            absent?: boolean;
            /**
             * @description Kernel that imported the module.
             * @example python3
             */
            kernel: string;
            /** @description Name of the module. */
            module: string;
            /** @description Package of the module. */
            package: string;
        };
        StartCommand: {
            /** @description Program and arguments, run without a shell. Send either command or args. */
            args?: string[];
            /**
             * @description Line for a shell: bash, or sh in images without bash. Send either command or args.
             * @example ls -l | wc -l
             */
            command?: string;
            /**
             * @description Working directory: an absolute path, or a path relative to the session's directory. Absent means that directory.
             * @example /tmp
             */
            cwd?: string;
            /** @description Variables to add to the environment. The server does not store or return them. */
            env?: {
                [key: string]: string;
            };
            /** @description If true, the standard input ends at once. */
            no_input?: boolean;
            /**
             * @description Your label of the command.
             * @example web-server
             */
            tag?: string;
            /**
             * Format: double
             * @description Maximum run time in seconds. Absent or 0 means the server's default, or with a terminal the server's maximum.
             * @example 30
             */
            timeout?: number;
            /** @description Size of a terminal for the command. With a terminal, all output is in stdout. */
            tty?: components["schemas"]["Terminal"];
        };
        StartHook: {
            /** @description Path in the sandbox. */
            path: string;
            /** @description Beginning of the file. */
            text: string;
        };
        StartRuns: {
            /**
             * Format: int64
             * @description Maximum number of runs at the same time. The server can run fewer. Absent or 0 means 8.
             * @example 8
             */
            parallel?: number;
            /**
             * @description Runs of the batch.
             * @example [
             *       {
             *         "code": "print(6 * 7)"
             *       }
             *     ]
             */
            runs: components["schemas"]["RunRequest"][];
        };
        Status: {
            /**
             * Format: int64
             * @description Number of goroutines of the server. A number that only grows is a leak.
             * @example 24
             */
            goroutines: number;
            /**
             * Format: int64
             * @description Heap of the server in use, in bytes.
             * @example 8388608
             */
            heap: number;
            /**
             * Format: int64
             * @description Number of the caller's sessions, including ended ones that can still be read.
             * @example 2
             */
            sessions: number;
            /**
             * Format: int64
             * @description Seconds since the server started.
             * @example 3600
             */
            uptime: number;
        };
        SubmitCell: {
            /** @description Allow the code to ask for input. An input_request event has the question; answer it with answer-input. The timeout keeps running. Without allow_stdin, input() fails at once. */
            allow_stdin?: boolean;
            /**
             * @description Source code to run, at most 4 MiB.
             * @example 1 + 1
             */
            code: string;
            /** @description Variables of this cell only, at most 64 KiB. The server restores the former values after the cell. For Python, Bash, R and JavaScript. */
            env?: {
                [key: string]: string;
            };
            /** @description Format of figures in a Python kernel. Absent means the session's format. */
            figures?: components["schemas"]["Figures"];
            /**
             * @description Kernel that runs the cell. Absent means the session's first kernel.
             * @example python3
             */
            kernel?: string;
            /**
             * @description Effect on the queued cells if this cell does not end with ok. continue: the queued cells run. cancel: the cells in the queue at that moment are cancelled. Absent means continue.
             * @enum {string}
             */
            on_error?: "continue" | "cancel";
            /**
             * Format: double
             * @description Maximum run time in seconds, without the time in the queue. Absent or 0 means the server's default.
             * @example 30
             */
            timeout?: number;
        };
        Template: {
            /**
             * Format: date-time
             * @description Time at which the snapshot was made.
             */
            built?: string;
            /** @description Default network access of its sessions. */
            egress: components["schemas"]["Egress"];
            /**
             * @description Image of its sessions.
             * @example python
             */
            image: string;
            /** @description Default limits of its sessions. */
            limits: components["schemas"]["Limits"];
            /**
             * @description Name of the template.
             * @example python
             */
            name: string;
            /**
             * @description Requirements of the packages installed in the template.
             * @example [
             *       "polars"
             *     ]
             */
            packages?: string[];
            /** @description Why the snapshot could not be made, if the state is failed. */
            problem?: string;
            /**
             * Format: int64
             * @description Number of sandboxes that are ready now.
             */
            ready: number;
            /**
             * Format: int64
             * @description Size of the snapshot on disk, in bytes.
             */
            size?: number;
            /**
             * @description If ready, its sessions start from a snapshot. Otherwise they start cold, which is slower.
             * @enum {string}
             */
            state: "building" | "ready" | "failed";
            /**
             * Format: int64
             * @description Number of sandboxes that the server keeps ready now. After a burst it is above warm; after quiet minutes it falls back.
             * @example 2
             */
            wanted: number;
            /**
             * Format: int64
             * @description Number of sandboxes that the server keeps ready without bursts.
             * @example 2
             */
            warm: number;
            /** @description Code that ran before the snapshot was made. */
            warmup?: string;
        };
        TemplateList: {
            /** @description Templates of the server, the default one first. */
            templates: components["schemas"]["Template"][];
        };
        Terminal: {
            /**
             * Format: int64
             * @description Number of characters in a line.
             * @example 80
             */
            cols: number;
            /**
             * Format: int64
             * @description Number of lines.
             * @example 24
             */
            rows: number;
        };
        Unpacked: {
            /**
             * Format: int64
             * @description Total size of the files, in bytes.
             * @example 48213
             */
            bytes: number;
            /**
             * Format: int64
             * @description Number of files, directories and links.
             * @example 12
             */
            entries: number;
        };
        Usage: {
            /**
             * Format: double
             * @description CPU seconds of the kernel and its child processes, measured in the sandbox.
             */
            cpu_seconds?: number;
            /**
             * Format: int64
             * @description Peak memory of the whole sandbox while the cell ran, in bytes, measured on the host.
             */
            peak_memory_bytes?: number;
            /**
             * Format: double
             * @description Seconds between started and ended.
             */
            wall_seconds: number;
        };
        Version: {
            /**
             * @description Version of this API.
             * @example v1
             */
            api: string;
            /**
             * @description Version of Go that built the program.
             * @example go1.26.8
             */
            go: string;
            /**
             * @description Version of cellhold.
             * @example 0.1.0
             */
            version: string;
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type AddKernel = components['schemas']['AddKernel'];
export type AnswerInput = components['schemas']['AnswerInput'];
export type AttemptPage = components['schemas']['AttemptPage'];
export type Cell = components['schemas']['Cell'];
export type CellFile = components['schemas']['CellFile'];
export type CellList = components['schemas']['CellList'];
export type CheckCode = components['schemas']['CheckCode'];
export type Checkpoint = components['schemas']['Checkpoint'];
export type CheckpointList = components['schemas']['CheckpointList'];
export type Command = components['schemas']['Command'];
export type CommandList = components['schemas']['CommandList'];
export type CommandOutput = components['schemas']['CommandOutput'];
export type CompleteCode = components['schemas']['CompleteCode'];
export type Completeness = components['schemas']['Completeness'];
export type Completion = components['schemas']['Completion'];
export type CompletionMatch = components['schemas']['CompletionMatch'];
export type CreateSession = components['schemas']['CreateSession'];
export type Directory = components['schemas']['Directory'];
export type Egress = components['schemas']['Egress'];
export type EgressAttempt = components['schemas']['EgressAttempt'];
export type Event = components['schemas']['Event'];
export type EventPage = components['schemas']['EventPage'];
export type Figures = components['schemas']['Figures'];
export type FileChange = components['schemas']['FileChange'];
export type FileInfo = components['schemas']['FileInfo'];
export type FileList = components['schemas']['FileList'];
export type FilesWritten = components['schemas']['FilesWritten'];
export type ForkSession = components['schemas']['ForkSession'];
export type Health = components['schemas']['Health'];
export type HistoryEntry = components['schemas']['HistoryEntry'];
export type HistoryList = components['schemas']['HistoryList'];
export type ImportedNotebook = components['schemas']['ImportedNotebook'];
export type InputRequest = components['schemas']['InputRequest'];
export type InputTaken = components['schemas']['InputTaken'];
export type InspectCode = components['schemas']['InspectCode'];
export type Inspection = components['schemas']['Inspection'];
export type InstallPackages = components['schemas']['InstallPackages'];
export type Installation = components['schemas']['Installation'];
export type Kernel = components['schemas']['Kernel'];
export type KernelList = components['schemas']['KernelList'];
export type KernelSpec = components['schemas']['KernelSpec'];
export type KernelSpecList = components['schemas']['KernelSpecList'];
export type Limits = components['schemas']['Limits'];
export type MakeCheckpoint = components['schemas']['MakeCheckpoint'];
export type Output = components['schemas']['Output'];
export type OutputFile = components['schemas']['OutputFile'];
export type Package = components['schemas']['Package'];
export type PackageChange = components['schemas']['PackageChange'];
export type PackageList = components['schemas']['PackageList'];
export type PortAccess = components['schemas']['PortAccess'];
export type Problem = components['schemas']['Problem'];
export type ProblemField = components['schemas']['ProblemField'];
export type RollBack = components['schemas']['RollBack'];
export type RunChangedFile = components['schemas']['RunChangedFile'];
export type RunError = components['schemas']['RunError'];
export type RunFile = components['schemas']['RunFile'];
export type RunRaised = components['schemas']['RunRaised'];
export type RunRequest = components['schemas']['RunRequest'];
export type RunResult = components['schemas']['RunResult'];
export type RunTest = components['schemas']['RunTest'];
export type RunTestResult = components['schemas']['RunTestResult'];
export type Secret = components['schemas']['Secret'];
export type SecretInfo = components['schemas']['SecretInfo'];
export type SendSignal = components['schemas']['SendSignal'];
export type Session = components['schemas']['Session'];
export type SessionList = components['schemas']['SessionList'];
export type SetDeadline = components['schemas']['SetDeadline'];
export type StaleModule = components['schemas']['StaleModule'];
export type StartCommand = components['schemas']['StartCommand'];
export type StartHook = components['schemas']['StartHook'];
export type StartRuns = components['schemas']['StartRuns'];
export type Status = components['schemas']['Status'];
export type SubmitCell = components['schemas']['SubmitCell'];
export type Template = components['schemas']['Template'];
export type TemplateList = components['schemas']['TemplateList'];
export type Terminal = components['schemas']['Terminal'];
export type Unpacked = components['schemas']['Unpacked'];
export type Usage = components['schemas']['Usage'];
export type Version = components['schemas']['Version'];
