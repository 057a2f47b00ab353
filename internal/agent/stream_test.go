package agent_test

import (
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// TestTheStoriesOverAStream repeats the stories about cells with kernels that have a stream in place of
// sockets.
func TestTheStoriesOverAStream(t *testing.T) {
	for _, story := range []func(*testing.T){
		TestVariablesLastFromCellToCell,
		TestAnExceptionIsAnOutputAndTheKernelContinues,
		TestAnInterruptedCellKeepsItsVariables,
		TestInterruptingAnIdleKernelIsNoError,
		TestALoopEndsAtItsDeadlineAndKeepsItsVariables,
		TestALoopThatIgnoresInterruptsIsKilledAndItsKernelRestarts,
		TestADeadKernelEndsItsCellWithTheCause,
		TestADeadKernelCanBeRestarted,
		TestARestartEndsTheRunningCell,
		TestStartupCodeRunsSilentlyAfterEveryStart,
		TestAnExceptionInStartupCodeIsReportedWithTheIdleState,
		TestAKernelThatDiesDuringItsStartReportsTheCause,
		TestABusyKernelRefusesAnotherCell,
		TestTheSameCellRunsOnce,
		TestACellWithoutAnIdleStatusEndsAfterAWait,
		TestACellWithoutAReplyEndsAtItsDeadline,
		TestForgedMessagesEndOnlyTheirOwnCellAndOnlyOnce,
		TestOutputThatBelongsToNoCellIsDroppedAndCounted,
		TestLateOutputBelongsToTheCellThatStartedIt,
		TestAReaderThatReconnectsMissesNothing,
		TestAcknowledgedEventsAreForgotten,
		TestAFloodIsBoundedAndTheEndStillArrives,
		TestAnAcknowledgedFloodFreesItsSpace,
		TestAFloodWaitsForAHostThatAcknowledges,
		TestALongTextComesInPieces,
		TestADeletedKernelHasNoEvents,
		TestTwoKernelsHaveTheirOwnVariablesAndEvents,
		TestInputFailsAtOnce,
		TestACellStartsWhenItsKernelGetsIt,
		TestARenewedSandboxNumbersFromOneAndKeepsItsVariables,
		TestEveryRenewalGivesNewSeeds,
		TestTheSameCellRunsAgainAfterARenewal,
		TestARenewalIsRefusedWhileACellOrACommandRuns,
		TestADeadKernelStaysDeadWithItsCause,
		TestAKernelThatCannotBeRenewedIsReportedAndTheAgentContinues,
		TestARenewalEndsEarlierReaders,
		TestPreparationIsSilent,
		TestAPreparationReportsItsException,
		TestAPreparationEndsAtItsDeadline,
		TestNoCellRunsDuringAPreparation,
		TestPreparedStartupCodeRunsAfterEveryRestart,
		TestCellsAreAcceptedOnTheConnectionOfTheEvents,
		TestTranscripts,
		TestUnknownRequestsAreAnsweredOnAWire,
		TestCommMessagesKeepTheirBuffers,
		TestACellOfAClientHasItsHeader,
		TestASilentCellStartsAndEndsWithoutACount,
		TestAClientsRequestIsChecked,
		TestTheAgentsRequestsAreNotOnAWire,
		TestAWireRefusesSomeMessages,
		TestAnswersToInputPassOverAWire,
		TestASlowWireIsClosedAndTheKernelContinues,
		TestAMessageThatIsTooLargeBecomesANote,
		TestAnOddMessageDoesNotEndAWire,
		TestQuestionsAreBounded,
		TestAQuestionAfterAFloodArrivesAndIsAnswered,
		TestWiresEndAtARenewalAndWithTheKernel,
		TestAWireStaysOpenWhenTheKernelRestarts,
	} {
		name := runtime.FuncForPC(reflect.ValueOf(story).Pointer()).Name()
		t.Run(name[strings.LastIndex(name, ".Test")+len(".Test"):], story)
	}
}

// overStream reports whether the kernels of a test have a stream.
func overStream(t testing.TB) bool {
	return strings.HasPrefix(t.Name(), "TestTheStoriesOverAStream/")
}

// noFallback is a log in which no kernel gives up its stream.
type noFallback struct{ testing.TB }

func (t noFallback) Write(line []byte) (int, error) {
	if strings.Contains(string(line), "cannot use its stream") {
		t.Errorf("%s", line)
	}
	return len(line), nil
}
